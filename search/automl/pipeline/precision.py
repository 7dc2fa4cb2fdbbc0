"""Which precisions a search may choose from: what the target has, of what the user asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from automl.errors import PolicyError, UsageError, nearest
from automl.latency import TableHeader
from automl.options import SearchOptions
from automl.policy import (
    Bits,
    Policy,
    Precisions,
    bits_of,
    described,
    format_bits,
    is_float,
    parse_precision,
)
from automl.profiling import runtime_of_table
from automl.units import Quantity

#: Bits that weights may be rounded to by themselves.
WEIGHT_BITS: Final = tuple(range(1, 9))


@dataclass(frozen=True, slots=True)
class BitChoices:
    """What layers may be given.

    Attributes:
        precisions: To compute in, the dense one among them; () where that is not chosen.
        weight_only: Bits that weights may be rounded to by themselves.
        keep_first_last: Hold the first and the last layer at 8 bits.
        notes: What the user should know.
    """

    precisions: tuple[Bits, ...] = ()
    weight_only: tuple[int, ...] = ()
    keep_first_last: bool = False
    notes: tuple[str, ...] = ()

    @property
    def integers(self) -> bool:
        """Whether layers may compute in integers."""
        return not all(map(is_float, self.precisions))

    @property
    def any(self) -> bool:
        """Whether there is a choice at all."""
        return len(self.precisions) > 1 or bool(self.weight_only)


def precisions_of(header: TableHeader) -> Precisions:
    """What a target computes in; a table in cycles is a simulator's."""
    return Precisions(header.precisions, simulated=header.unit == "cycles")


def scheme_of(header: TableHeader) -> str | None:
    """The scheme of the target's quantised graphs; None for simulators and where all is float."""
    precisions = precisions_of(header)
    if precisions.simulated or all(map(is_float, precisions.bits)):
        return None
    return header.scheme or runtime_of_table(header.runtime).scheme


def floats_of(header: TableHeader) -> Literal["fp32", "fp16"]:
    """What floats are written as: a runtime that takes ONNX computes in what it reads."""
    half = precisions_of(header).dense == "fp16"
    return "fp16" if half and runtime_of_table(header.runtime).takes_onnx else "fp32"


def choose_bits(
    words: Sequence[str],
    target: str,
    precisions: Precisions,
    limited: Iterable[Quantity],
    keep_first_last: bool = False,
) -> BitChoices:
    """What of the words the target has and the budget has a use for.

    "auto" is what pays: all that the target computes in where a latency or an energy is limited,
    and weights rounded by themselves where the size is.

    Args:
        words: From `parse_precisions`.
        target: Its name, for messages.
        precisions: What it computes in.
        limited: Quantities that the budget limits.
        keep_first_last: As asked for.

    Raises:
        UsageError: A precision that the target lacks, or that no limit has a use for.
    """
    limited = set(limited)
    sized, timed = "bytes" in limited, bool(limited & {"latency", "joules"})
    if tuple(words) == ("float",):
        if keep_first_last:
            raise UsageError(
                "keeping the first and the last layer at 8 bits needs precisions to choose from: "
                "auto, or a list such as int8",
                options=("keep_first_last", "precisions"),
            )
        return BitChoices()
    if tuple(words) == ("auto",):
        computed = precisions.bits if timed else ()
        weights = WEIGHT_BITS if sized and precisions.has_float else ()
        found = BitChoices(computed, weights, keep_first_last)
        return found if found.any or not (timed or sized) else _none(target, precisions)
    asked = {_known(word, target, precisions) for word in words}
    weights = tuple(sorted({bits for each in asked if isinstance(each, range) for bits in each}))
    if weights and not sized:
        raise UsageError(
            f"w{weights[0]} rounds weights alone, which saves size and not time: give a budget of "
            "size too (4MB, 50%size), or leave it out",
            options=("budget", "precisions"),
        )
    if weights and not precisions.has_float:
        raise UsageError(f"w{weights[0]} computes in float, which {target} does not have")
    computed = tuple(each for each in asked if isinstance(each, Bits))
    dense = bits_of(precisions.dense)
    return BitChoices((*computed, dense) if computed else (), weights, keep_first_last)


def bits_for(options: SearchOptions, precisions: Precisions) -> BitChoices:
    """What a search may give its layers on a target.

    Raises:
        UsageError: As `choose_bits`.
    """
    return choose_bits(
        options.precisions if options.opened.bits else ("float",),
        options.target,
        precisions,
        options.limited,
        options.keep_first_last,
    )


def check_bits(policy: Policy, target: str, precisions: Precisions) -> None:
    """Check that a target can run all of a policy's layers.

    Raises:
        PolicyError: Bits that it lacks; names the first layer.
    """
    for name, bits in policy.bits.items():
        if not is_float(bits) and bits not in precisions.bits:
            raise PolicyError(
                f"the policy gives {name} {format_bits(bits)}: {target} has "
                f"{described(precisions.names)}"
            )


def used_names(bits: Iterable[Bits], precisions: Precisions) -> str:
    """What layers with these bits compute in, for people; the dense precision where none has."""
    used = {precisions.name_of(each) for each in bits}
    return described([name for name in precisions.names if name in used] or [precisions.dense])


def _none(target: str, precisions: Precisions) -> BitChoices:
    return BitChoices(
        notes=(f"no bits are chosen: {target} has {described(precisions.names)} alone",)
    )


def _known(word: str, target: str, precisions: Precisions) -> Bits | range:
    found = parse_precision(word)
    if isinstance(found, Bits) and found not in precisions.bits:
        raise UsageError(
            f"no precision {word}: {target} has {described(precisions.names)}"
            f"{nearest(word, precisions.names)}",
            options=("precisions",),
        )
    return found
