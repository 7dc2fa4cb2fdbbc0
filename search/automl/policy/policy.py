"""A policy: what each part of the network becomes. Its file is JSON; reading runs no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from automl.errors import PolicyError

#: Kinds of choices that a policy has fields for.
FIELDS: Final = ("resolution", "block", "channels", "bits")
#: What a policy chooses where it says nothing, as further kinds write it.
DENSE: Final = "dense"


@dataclass(frozen=True, slots=True)
class Bits:
    """Precision of one layer: bits of its weights and of its input activations (32 = float)."""

    weights: int = 32
    activations: int = 32


@dataclass(frozen=True, slots=True)
class Policy:
    """What each part becomes. Groups, layers and blocks that are not named stay as they are.

    Attributes:
        channels: Kept channels per channel group.
        removed: Names of the blocks that are left out.
        resolution: Square input size; 0 keeps the dense one.
        bits: Precision per layer.
        further: Per further kind of choice, per part: the option as the kind writes it.

    Raises:
        PolicyError: Among the further kinds is one that has a field.
    """

    channels: Mapping[str, int] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    resolution: int = 0
    bits: Mapping[str, Bits] = field(default_factory=dict)
    further: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", MappingProxyType(dict(self.channels)))
        object.__setattr__(self, "bits", MappingProxyType(dict(self.bits)))
        object.__setattr__(self, "removed", frozenset(self.removed))
        for kind in self.further:
            if kind in FIELDS:
                raise PolicyError(f"{kind!r} is no further kind: a policy has a field for it")
        # a kind without a choice says nothing: policies that choose the same are equal
        further = {k: MappingProxyType(dict(each)) for k, each in self.further.items() if each}
        object.__setattr__(self, "further", MappingProxyType(further))

    def __or__(self, other: Policy) -> Policy:
        """The choices of both; the other's where both choose."""
        kinds = dict.fromkeys((*self.further, *other.further))
        return Policy(
            {**self.channels, **other.channels},
            self.removed | other.removed,
            other.resolution or self.resolution,
            {**self.bits, **other.bits},
            {kind: {**self.further.get(kind, {}), **other.further.get(kind, {})} for kind in kinds},
        )

    def __reduce__(
        self,
    ) -> tuple[type[Policy], tuple[object, ...]]:  # mapping proxies do not pickle
        further = {kind: dict(options) for kind, options in self.further.items()}
        return Policy, (
            dict(self.channels),
            self.removed,
            self.resolution,
            dict(self.bits),
            further,
        )

    def __hash__(self) -> int:
        further = frozenset(
            (kind, frozenset(options.items())) for kind, options in self.further.items()
        )
        chosen = frozenset(self.channels.items()), frozenset(self.bits.items()), further
        return hash((*chosen, self.removed, self.resolution))
