"""The operators of one layer for many numbers of channels at once, each of its keys once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from automl.latency import OpKey, op_key
from automl.network import Layer, LayerPlan, Width
from automl.policy import Bits, with_kernel
from automl.space import AnyKind

Integers = NDArray[np.int64]
#: Shapes of layers whose operators are remembered: those of a network follow each other.
_SHAPES: Final = 8
#: Operators that integer kernels exist for; the others compute in float whatever their owner does.
INTEGER: Final = (
    "conv2d",
    "depthwise_conv2d",
    "linear",
    "add",
    "max_pool",
    "avg_pool",
    "global_avg_pool",
    "concat",
    "resize",
)


@dataclass(frozen=True, slots=True)
class Lowered:
    """What an option of a kind makes a layer run as.

    Attributes:
        kind: Of the choice.
        option: What was chosen.
    """

    kind: AnyKind
    option: Hashable

    def __call__(self, layer: Layer) -> tuple[Layer, ...]:
        """The operators, in their order."""
        return self.kind.lower(self.option, layer)

    def kernel(self, operator: Layer) -> Any:
        """As `ChoiceKind.kernel`."""
        return self.kind.kernel(self.option, operator)

    def bytes(self, layer: Layer, bits: Bits) -> Any:
        """As `ChoiceKind.bytes`."""
        return self.kind.bytes(self.option, layer, bits)


@dataclass(frozen=True, slots=True)
class Way:
    """How a layer can run.

    Attributes:
        precision: As the table writes it; "quantize" or "dequantize" of a conversion.
        lower: What it runs as; None for itself.
        floats: The precision of what has no integer kernel among that.
        special: The kernel of a layer that runs as itself; "" for the plain one.
    """

    precision: str
    lower: Lowered | None = None
    floats: str = "fp32"
    special: str = ""

    @property
    def takes_arrays(self) -> bool:
        """Whether a layer can have arrays of channels for numbers."""
        return self.lower is None or self.lower.kind.lowers_arrays

    def operators(self, layer: Layer) -> tuple[Layer, ...]:
        """What a layer runs as."""
        return (layer,) if self.lower is None else self.lower(layer)

    def key(self, layer: Layer) -> OpKey:
        """What an operator is priced by."""
        return self.keyed(layer, self.kernel(layer))

    def keyed(self, layer: Layer, kernel: str) -> OpKey:
        """What an operator is priced by that one kernel computes, "" for the plain one."""
        if layer.op == "convert":
            return op_key(replace(layer, detail=self.precision), "int8")
        integer = self.lower is None or runs_on_integers(layer)
        return op_key(layer, with_kernel(self.precision if integer else self.floats, kernel))

    def kernel(self, layer: Layer) -> Any:
        """As `Lowered.kernel`; of a layer that runs as itself its own."""
        return self.special if self.lower is None else self.lower.kernel(layer)


def runs_on_integers(layer: Layer) -> bool:
    """Whether an operator has an integer kernel."""
    return layer.op in INTEGER and len(layer.in_size) < 3


@dataclass(frozen=True, slots=True)
class Operators:
    """What the entries of a table run, of which several may run the same.

    Attributes:
        keys: Each once.
        entry: Per operator that runs, the entry that it belongs to.
        key: Per operator that runs, its place in `keys`.
        entries: How many there are.
    """

    keys: tuple[OpKey, ...]
    entry: Integers
    key: Integers
    entries: int


def sized(plan: LayerPlan, read: Integers, written: Integers, resolution: int) -> Layer:
    """A layer with arrays of channels for numbers."""
    return plan.sized(cast(int, read), cast(int, written), resolution)


def operators_over(
    plan: LayerPlan,
    resolutions: Sequence[int],
    ways: Sequence[Way],
    counts: tuple[Integers, Integers, Integers],
) -> Operators:
    """What runs, in C order of [resolutions, ways, counts].

    Args:
        plan: Of the layer.
        resolutions: Indices of those that are chosen from.
        ways: How it can run.
        counts: Read channels, written channels and heads, flat and of one length.
    """
    flat = tuple(each.astype(np.int64).tobytes() for each in counts)
    nothing = Width()
    shape = replace(
        plan,
        layer=replace(plan.layer, name=""),
        inputs=nothing,
        outputs=nothing,
        block="",
        variants=tuple(replace(each, name="") for each in plan.variants),
        owner="",
        held=None,
        heads=None,
    )
    return _operators(shape, tuple(resolutions), tuple(ways), flat)


@lru_cache(maxsize=_SHAPES)
def _operators(
    plan: LayerPlan, resolutions: Sequence[int], ways: Sequence[Way], flat: Sequence[bytes]
) -> Operators:
    """As `operators_over`: layers of one shape, of which networks have many, run the same."""
    counts = [np.frombuffer(each, np.int64) for each in flat]
    places: dict[OpKey, int] = {}
    entry, key = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    count, first = len(counts[0]), 0

    def add(keys: Sequence[OpKey], inverse: Integers, at: Integers) -> None:
        found = np.array([places.setdefault(each, len(places)) for each in keys], np.int64)
        key.append(found[inverse])
        entry.append(at)

    for resolution in resolutions:
        # products of heads are chosen one by one: a number of heads is no number of channels
        whole = None if counts[2].any() else sized(plan, counts[0], counts[1], resolution)
        for way in ways:
            at = np.arange(first, first + count)
            if whole is not None and way.takes_arrays:
                for each in way.operators(whole):
                    add(*_keys(each, way, count), at)
            else:
                for place, sides in zip(at, np.stack(counts, 1).tolist(), strict=True):
                    alone = plan.sized(sides[0], sides[1], resolution, sides[2])
                    keys = [way.key(each) for each in way.operators(alone)]
                    add(keys, np.arange(len(keys)), np.full(len(keys), place))
            first += count
    return Operators(tuple(places), np.concatenate(entry), np.concatenate(key), first)


def _keys(layer: Layer, way: Way, count: int) -> tuple[list[OpKey], Integers]:
    """The keys of an operator with arrays of channels, each once, and where each of `count` is."""
    sides = [
        np.broadcast_to(each, count)
        for each in (layer.in_channels, layer.out_channels, layer.groups)
    ]
    code = sides[0]
    for side in sides[1:]:
        code = code * (side.max() + 1) + side
    _, some, inverse = np.unique(code, return_index=True, return_inverse=True)
    numbers = np.stack([side[some] for side in sides], 1).tolist()
    kernels = np.broadcast_to(way.kernel(layer), count)[some].tolist()
    bare = replace(layer, in_channels=0, out_channels=0, groups=0)
    plain = {kernel: way.keyed(bare, kernel) for kernel in set(kernels)}
    pairs = zip(kernels, numbers, strict=True)
    return [_key(plain[kernel], *each) for kernel, each in pairs], inverse


def _key(plain: OpKey, read: int, written: int, groups: int) -> OpKey:
    """A key with other channels; not by `replace`, which takes ten times as long."""
    return OpKey(
        plain.op,
        read,
        written,
        plain.kernel,
        plain.stride,
        plain.padding,
        plain.dilation,
        groups,
        plain.in_size,
        plain.out_size,
        plain.detail,
        plain.precision,
        plain.batch,
    )
