"""What a target computes in: names of precisions, as tables write them, and the bits they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from automl.errors import TableError, UsageError
from automl.policy.policy import Bits

#: Bits from which on numbers are floats.
FLOAT_BITS: Final = 16
#: Bits of weights from which on a merged layer does the addition that it ends in itself.
_IDENTITY_BITS: Final = 8
_NAMED: Final = {
    "fp32": Bits(32, 32),
    "fp16": Bits(16, 16),
    "bf16": Bits(16, 16),
    "int8": Bits(8, 8),
}
_WEIGHTS: Final = re.compile(r"w([1-8])(?:-w?([1-8]))?")
_SAME: Final = re.compile(r"int([1-9]|1[0-6])")
_MIXED: Final = re.compile(r"w([1-9]|[12][0-9]|3[0-2])a([1-9]|[12][0-9]|3[0-2])")
#: Between a precision and the kernel that computes in it where that is not the plain one.
_PLUS: Final = "+"


def bits_of(name: str) -> Bits:
    """The bits of a precision: "int8" is w8a8, "w4a6" names its own, "int8+2:4" has those of int8.

    Raises:
        TableError: If the name is neither known nor of the form w4a6.
    """
    plain, plus, kernel = name.partition(_PLUS)
    known, mixed = _NAMED.get(plain), _MIXED.fullmatch(plain)
    if plus and not kernel:
        raise TableError(f"precision {name!r} names no kernel: a kernel is written as in fp16+2:4")
    if known is not None:
        return known
    if mixed is None:
        raise TableError(f"unknown precision {name!r}: known are {', '.join(_NAMED)} and w4a6")
    return Bits(int(mixed[1]), int(mixed[2]))


def plain_precision(name: str) -> str:
    """A precision without the kernel: "int8" of "int8+2:4"."""
    return name.partition(_PLUS)[0]


def with_kernel(name: str, kernel: str) -> str:
    """A precision as tables write it, of a special kernel where one is named."""
    return f"{name}{_PLUS}{kernel}" if kernel else name


def is_float(bits: Bits) -> bool:
    """Whether a layer computes in float: also where its weights alone are rounded."""
    return bits.activations >= FLOAT_BITS


def is_weight_only(bits: Bits) -> bool:
    """Whether the weights alone are rounded: stored as a codebook, computed in float."""
    return is_float(bits) and bits.weights < FLOAT_BITS


def holds_identity(bits: Bits) -> bool:
    """Whether weights of these bits hold a 1 beside those of a layer without being much coarser."""
    return bits.weights >= _IDENTITY_BITS


def format_bits(bits: Bits) -> str:
    """A precision for people: "fp32", "int8", "w4a6", or "w4" where weights alone are rounded."""
    if is_weight_only(bits):
        return f"w{bits.weights}"
    known = next((name for name, named in _NAMED.items() if named == bits), None)
    return known or f"w{bits.weights}a{bits.activations}"


def fineness(bits: Bits) -> tuple[int, int]:
    """Sorts precisions so that the finest comes last: float after integers, then by bits."""
    return bits.weights, bits.activations


@dataclass(frozen=True)
class Precisions:
    """What a target computes in.

    Attributes:
        names: As its table writes them.
        simulated: Whether it prices convolutions and linear layers alone, and no conversion: the
            target is a simulator.

    Those of special kernels ("fp16+2:4") are no choice of bits: forms of layers ask for them.
    """

    names: tuple[str, ...] = ("fp32",)
    simulated: bool = False

    @cached_property
    def plain(self) -> tuple[str, ...]:
        """Those that plain kernels compute in."""
        return tuple(name for name in self.names if _PLUS not in name)

    @cached_property
    def kernels(self) -> frozenset[str]:
        """Special kernels that it has in some precision."""
        return frozenset(name.partition(_PLUS)[2] for name in self.names if _PLUS in name)

    @cached_property
    def dense(self) -> str:
        """What a network runs in that is not quantised: float, or else the finest there is."""
        if "fp32" in self.plain:
            return "fp32"
        return max(self.plain or self.names, key=lambda name: fineness(bits_of(name)))

    @cached_property
    def bits(self) -> tuple[Bits, ...]:
        """What a layer can be given, ascending, the dense one last."""
        return tuple(sorted({bits_of(name) for name in self.plain or self.names}, key=fineness))

    @property
    def has_float(self) -> bool:
        """Whether some layers can compute in float."""
        return is_float(bits_of(self.dense))

    def name_of(self, bits: Bits) -> str:
        """What the table calls a layer's bits; weights that are rounded alone compute as dense."""
        if is_weight_only(bits):
            return self.dense
        found = (name for name in self.plain if bits_of(name) == bits)
        return next(found, format_bits(bits))


#: A target that knows nothing but floats of 32 bits.
FP32: Final = Precisions()


def described(names: Sequence[str]) -> str:
    """Precisions for a message: "fp32 and int8", "w2a2 to w8a8 (49)" where they are many."""
    if len(names) > 4:
        return f"{names[0]} to {names[-1]} ({len(names)})"
    return " and ".join((", ".join(names[:-1]), names[-1]) if len(names) > 1 else names)


def parse_precisions(text: str) -> tuple[str, ...]:
    """The words of "auto", "float", or a list like "int8,w4,w2-w6".

    Raises:
        UsageError: A word that is no precision, or one that stands by itself among others.
    """
    words = tuple(word.strip().lower() for word in text.split(","))
    for word in words:
        if word not in ("auto", "float"):
            parse_precision(word)
        elif len(words) > 1:
            raise UsageError(f"precisions {text!r}: {word} stands by itself")
    return words


def parse_precision(word: str) -> Bits | range:
    """What a word asks for: bits to compute in, or bits of weights alone ("w4", "w2-w6").

    Raises:
        UsageError: A word that is no precision.
    """
    weights, same = _WEIGHTS.fullmatch(word), _SAME.fullmatch(word)
    if weights is not None:
        least, most = int(weights[1]), int(weights[2] or weights[1])
        if most < least:
            raise UsageError(f"precision {word!r} descends: write w{most}-w{least}")
        return range(least, most + 1)
    if same is not None:
        return Bits(int(same[1]), int(same[1]))
    try:
        return bits_of(word)
    except TableError:
        raise UsageError(
            f"precision {word!r} is not understood: write auto, float, or a list such as"
            " int8, fp16, w4a6, w4 (weights alone) or w2-w6"
        ) from None
