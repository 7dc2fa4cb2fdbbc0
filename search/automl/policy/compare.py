"""What differs between two policies of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from automl.errors import PolicyError
from automl.policy.file import PolicyFile
from automl.policy.policy import DENSE


@dataclass(frozen=True, slots=True)
class PolicyDifference:
    """A choice that two policies make differently.

    Attributes:
        part: A channel group, a layer, a block; "" for the network.
        kind: Of the choice.
        one, other: What each chose, as text.
    """

    part: str
    kind: str
    one: str
    other: str


def differences(one: PolicyFile, other: PolicyFile) -> tuple[PolicyDifference, ...]:
    """Choices in which two policies differ, part by part in the order of the first.

    Raises:
        PolicyError: They are of different models.
    """
    if one.model.fingerprint != other.model.fingerprint:
        raise PolicyError(
            f"the policies are of different models: {one.model.name} with fingerprint "
            f"{one.model.fingerprint[:12]}, and {other.model.name} with "
            f"{other.model.fingerprint[:12]}"
        )
    first, second = _choices(one), _choices(other)
    keys = dict.fromkeys((*first, *second))
    order = list(dict.fromkeys(part for part, _ in keys))
    found = {
        key: (first.get(key, DENSE), second.get(key, DENSE))
        for key in sorted(keys, key=lambda each: order.index(each[0]))
    }
    return tuple(
        PolicyDifference(part, kind, *both)
        for (part, kind), both in found.items()
        if both[0] != both[1]
    )


def _choices(file: PolicyFile) -> Mapping[tuple[str, str], str]:
    """All that a policy chooses otherwise than the dense network, by part and kind."""
    found: dict[tuple[str, str], str] = {}
    if file.resolution:
        found["", "resolution"] = str(file.resolution)
    found |= {(name, "block"): "left out" for name in file.removed}
    found |= {
        (name, "channels"): f"{each.kept} of {each.dense}"
        for name, each in file.channels.items()
        if each.kept < each.dense
    }
    found |= {
        (name, "bits"): f"{each.weights}, {each.activations}"
        for name, each in file.bits.items()
        if (each.weights, each.activations) != (32, 32)
    }
    for kind, options in file.further.items():
        found |= {(name, kind): text for name, text in options.items() if text != DENSE}
    return found
