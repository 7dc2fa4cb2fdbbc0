"""One layer's price for every choice that it depends on, as an array.

A layer's price depends on what it reads and writes (in channels), the resolution, the way in which
it runs (as itself or as other operators, in the precision of its owner), and whether its block is
kept. Channel counts that come from several groups (a
concatenation) are indexed by their sum, so that a dense block of sixty layers stays a table of a
few hundred rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, product
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from automl.latency import OpKey, op_key
from automl.network import Layer, LayerPlan, Network, Width
from automl.policy import FLOAT_BITS, Bits, Precisions, bits_of, packed_bytes
from automl.space import Space, bit_options, channel_counts, kind_of

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

WEIGHTED: Final = ("conv2d", "depthwise_conv2d", "conv_transpose2d", "linear")
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
#: What a layer runs as.
Lowering = Callable[[Layer], tuple[Layer, ...]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of a layer's table, indexed by the sum of its variables' steps.

    Attributes:
        steps: Per variable of the space: what each of its options adds to the index.
        inputs: Input channels at each index, or None where the axis does not decide them.
        outputs: Output channels at each index, or None.
        priced: Indices for which prices are asked; those between are interpolated.
    """

    steps: tuple[tuple[int, Integers], ...]
    inputs: Integers | None
    outputs: Integers | None
    priced: Integers

    @property
    def size(self) -> int:
        """Number of indices."""
        counts = self.inputs if self.inputs is not None else self.outputs
        assert counts is not None
        return len(counts)

    def weights(self) -> Floats:
        """Linear interpolation from priced indices to all: [size, priced]."""
        counts = self.inputs if self.inputs is not None else self.outputs
        assert counts is not None
        known = counts[self.priced].astype(np.float64)
        return np.stack([np.interp(counts, known, row) for row in np.eye(len(self.priced))], axis=1)


@dataclass(frozen=True, slots=True)
class Way:
    """How a layer can run.

    Attributes:
        precision: As the table writes it; "quantize" or "dequantize" of a conversion.
        lower: What it runs as; None for itself.
    """

    precision: str
    lower: Lowering | None = None


@dataclass(frozen=True, slots=True)
class Ways:
    """In which ways a layer can run, and what chooses between them.

    Attributes:
        priced: The ways, each once.
        chosen: Per assignment of the choosers in C order: index into `priced`; None where nothing
            runs.
        bits: Per assignment: what the weights are stored in.
        choosers: Variables with the number of their options.
    """

    priced: tuple[Way, ...]
    chosen: tuple[int | None, ...] = (0,)
    bits: tuple[Bits, ...] = (Bits(),)
    choosers: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class LayerTable:
    """What the price of one layer depends on.

    Attributes:
        plan: The layer.
        resolutions: Indices into `plan.sizes` to choose from.
        ways: The ways in which it runs.
        axes: Of its channels: none, one or two.
        resolution_variable, gate: Variables of the space, where it depends on them.
    """

    plan: LayerPlan
    resolutions: tuple[int, ...]
    ways: Ways
    axes: tuple[Axis, ...]
    resolution_variable: int | None = None
    gate: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """[resolutions, assignments of the ways' choosers, size of each axis]."""
        return (
            len(self.resolutions),
            len(self.ways.chosen),
            *(axis.size for axis in self.axes),
        )

    def operators(self) -> list[tuple[OpKey, ...]]:
        """What has to be priced, in C order of [resolutions, ways, priced of each axis]."""
        priced = [axis.priced for axis in self.axes]
        read, written = (counts.ravel().tolist() for counts in self._counts(priced))
        return [
            _keys(self.plan.sized(inputs, outputs, resolution), way)
            for resolution in self.resolutions
            for way in self.ways.priced
            for inputs, outputs in zip(read, written, strict=True)
        ]

    def op_keys(self) -> list[OpKey]:
        """All operators that have to be priced."""
        return list(chain.from_iterable(self.operators()))

    def spread(self, priced: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Prices of all indices from those of `operators()`, and which were interpolated."""
        lengths = [len(axis.priced) for axis in self.axes]
        free = len(self.ways.priced)
        table = priced.reshape(len(self.resolutions), free, *lengths)
        table = np.concatenate([table, np.zeros_like(table[:, :1])], axis=1)
        table = table[:, [free if way is None else way for way in self.ways.chosen]]
        between = np.zeros(self.shape, dtype=np.bool_)
        for position, axis in enumerate(self.axes, start=2):
            if len(axis.priced) < axis.size:
                table = np.moveaxis(
                    np.tensordot(axis.weights(), table, axes=(1, position)), 0, position
                )
                missing = np.ones(axis.size, dtype=np.bool_)
                missing[axis.priced] = False
                shape = [1] * len(self.shape)
                shape[position] = axis.size
                between |= missing.reshape(shape)
        return table, between

    def work(self) -> tuple[Floats, Floats]:
        """Exact MACs and bytes of weights and biases, each of `shape`."""
        read, written = self._counts([np.arange(axis.size) for axis in self.axes])
        layer = self.plan.layer
        products = self._products(read, written)
        dense = int(self._products(np.array(layer.in_channels), np.array(layer.out_channels)))
        macs = np.zeros(self.shape)
        weights = np.zeros(self.shape)
        for row, resolution in enumerate(self.resolutions):
            whole = self.plan.sized(layer.in_channels, layer.out_channels, resolution).macs
            macs[row] = products * (whole // dense) if dense else 0
        if layer.op in WEIGHTED:
            weights[:] = products * (layer.kernel[0] * layer.kernel[1])
        biases = written if layer.op in WEIGHTED else 2 * written if layer.op == "norm" else 0
        for column, bits in enumerate(self.ways.bits):
            if layer.op not in WEIGHTED:  # a norm follows its owner's bits, but is not rounded
                bits = bits if bits.weights >= FLOAT_BITS else Bits()
            way = self.ways.chosen[column]
            lower = None if way is None else self.ways.priced[way].lower
            if lower is None:
                weights[:, column] = packed_bytes(weights[:, column], written, biases, bits)
            else:
                macs[:, column], weights[:, column] = self._lowered(lower, bits, read, written)
        return macs, weights

    def _lowered(
        self, lower: Lowering, bits: Bits, read: Integers, written: Integers
    ) -> tuple[Floats, Floats]:
        """MACs and bytes of what the layer runs as: [resolutions, size of each axis]."""
        work = [
            work_of(lower(self.plan.sized(inputs, outputs, resolution)), bits)
            for resolution in self.resolutions
            for inputs, outputs in zip(read.ravel().tolist(), written.ravel().tolist(), strict=True)
        ]
        macs, sizes = np.array(work).T.reshape(2, len(self.resolutions), *read.shape)
        return macs, sizes

    def _counts(self, indices: Sequence[Integers]) -> tuple[Integers, Integers]:
        """Read and written channels over the grid of axis indices."""
        shape = tuple(len(index) for index in indices)
        read = np.full(shape, self.plan.inputs.fixed, dtype=np.int64)
        written = np.full(shape, self.plan.outputs.fixed, dtype=np.int64)
        for position, (axis, index) in enumerate(zip(self.axes, indices, strict=True)):
            along = [1] * len(shape)
            along[position] = -1
            if axis.inputs is not None:
                read[:] = axis.inputs[index].reshape(along)
            if axis.outputs is not None:
                written[:] = axis.outputs[index].reshape(along)
        return read, written

    def _products(self, read: Integers, written: Integers) -> Integers:
        """Pairs of an input and an output channel that are connected."""
        if self.plan.scales_groups:
            return written
        groups = self.plan.layer.groups if self.plan.layer.op in WEIGHTED else 1
        return read * written // groups


def _keys(layer: Layer, way: Way) -> tuple[OpKey, ...]:
    if layer.op == "convert":
        return (op_key(replace(layer, detail=way.precision), "int8"),)
    if way.lower is None:
        return (op_key(layer, way.precision),)
    return tuple(op_key(each, way.precision) for each in way.lower(layer))


def work_of(layers: Sequence[Layer], bits: Bits) -> tuple[int, float]:
    """MACs and bytes of weights of operators that run in place of one layer, its bias in the last.

    Args:
        layers: The operators.
        bits: What their weights are stored in.
    """
    size = 0.0
    for layer in layers:
        if layer.op in WEIGHTED:
            pairs = layer.in_channels * layer.out_channels // layer.groups
            weights = float(pairs * layer.kernel[0] * layer.kernel[1])
            biases = layer.out_channels if layer is layers[-1] else 0
            size += float(packed_bytes(weights, layer.out_channels, biases, bits))
    return sum(layer.macs for layer in layers), size


@dataclass(frozen=True)
class Builder:
    """Makes the tables of a network's layers.

    Attributes:
        network: What was traced.
        space: The choices.
        precisions: Of the target.
        counts: At most so many channel counts are priced a side.
        choosers: Variable and options by which each owner's followers choose, where that is not
            the owner's own (`automl.cost.conversions`).
    """

    network: Network
    space: Space
    precisions: Precisions
    counts: int
    choosers: Mapping[str, tuple[int, tuple[Bits, ...]]] = field(default_factory=dict)

    def tables(self) -> Iterator[LayerTable]:
        """One a layer, in network order."""
        for plan in self.network.plans:
            yield self.table(plan, self._ways(plan))

    def table(self, plan: LayerPlan, ways: Ways) -> LayerTable:
        """The table of one layer that runs in these ways."""
        positions = self.space.positions
        settled = _settle(plan, self.network, self.space)
        axes = _axes(settled, self.space, self.counts)
        gate = positions.get(("block", plan.block)) if plan.block else None
        resolution = positions.get(("resolution", ""))
        resolutions = self._resolutions(plan, resolution)
        return LayerTable(settled, resolutions, ways, axes, resolution, gate)

    def _resolutions(self, plan: LayerPlan, variable: int | None) -> tuple[int, ...]:
        if variable is None:
            return (len(plan.sizes) - 1,)
        sizes = cast(tuple[int, ...], self.space.variables[variable].options)
        return tuple(map(self.network.resolutions.index, sizes))

    def own_choice(self, layer: str) -> tuple[int, tuple[Bits, ...]] | None:
        """The variable of a layer's bits with its options; None where it has none."""
        variable = self.space.positions.get(("bits", layer))
        return None if variable is None else (variable, bit_options(self.space.variables[variable]))

    def choice(self, owner: str, block: str = "") -> tuple[int, tuple[Bits, ...]] | None:
        """What decides the precision of what an owner's followers in a block (or none) do."""
        if block and self._blocks.get(owner) == block:
            return self.own_choice(owner)
        return self.choosers.get(owner) or self.own_choice(owner)

    @cached_property
    def _blocks(self) -> Mapping[str, str]:
        return {plan.layer.name: plan.block for plan in self.network.plans}

    def _ways(self, plan: LayerPlan) -> Ways:
        dense, op = self.precisions.dense, plan.layer.op
        choice = self.choice(plan.owner, plan.block)
        options = (bits_of(dense),) if choice is None else choice[1]
        names = [self.precisions.name_of(bits) for bits in options]
        if op not in INTEGER:
            names = [dense] * len(names)
        choosers = () if choice is None else ((choice[0], len(options)),)
        if self.precisions.simulated and op not in WEIGHTED:
            return Ways((), (None,) * len(names), options, choosers)
        form, lowerings = self._lowerings.get(plan.layer.name, (None, (None,)))
        if form is not None:
            choosers = ((form, len(lowerings)), *choosers)
        ways = [Way(name, lower) for lower, name in product(lowerings, names)]
        priced = tuple(dict.fromkeys(ways))
        bits = options * len(lowerings)
        return Ways(priced, tuple(map(priced.index, ways)), bits, choosers)

    @cached_property
    def _lowerings(self) -> Mapping[str, tuple[int, tuple[Lowering | None, ...]]]:
        """Per layer that can run as others: the variable, and what each option makes of it."""
        found: dict[str, tuple[int, tuple[Lowering | None, ...]]] = {}
        for position, variable in enumerate(self.space.variables):
            kind = kind_of(variable.kind)
            if kind.lowers:
                lowered = [partial(kind.lower, option) for option in variable.options[:-1]]
                found[variable.name] = position, (*lowered, None)  # the dense one is itself
        return found


def _settle(plan: LayerPlan, network: Network, space: Space) -> LayerPlan:
    """The plan with the groups that the space does not open counted as fixed."""
    dense = network.dense_channels

    def width(side: Width) -> Width:
        still = tuple(part for part in side.parts if ("channels", part[0]) in space.positions)
        closed = (part for part in side.parts if part not in still)
        return Width(side.fixed + sum(times * dense[name] for name, times in closed), still)

    return replace(plan, inputs=width(plan.inputs), outputs=width(plan.outputs))


def _axes(plan: LayerPlan, space: Space, counts: int) -> tuple[Axis, ...]:
    read, written = _times(plan.inputs), _times(plan.outputs)
    if not read and not written:
        return ()
    ratios = {written[name] / read[name] for name in read} if read.keys() == written.keys() else {}
    if len(ratios) == 1:
        axis = _axis(plan.inputs, space, counts)
        assert axis.inputs is not None
        (ratio,) = ratios
        outputs = np.rint((axis.inputs - plan.inputs.fixed) * ratio).astype(np.int64)
        return (Axis(axis.steps, axis.inputs, outputs + plan.outputs.fixed, axis.priced),)
    axes: list[Axis] = []
    if read:
        axes.append(_axis(plan.inputs, space, counts))
    if written:
        side = _axis(plan.outputs, space, counts)
        axes.append(Axis(side.steps, None, side.inputs, side.priced))
    return tuple(axes)


def _times(side: Width) -> Mapping[str, int]:
    totals: dict[str, int] = {}
    for name, times in side.parts:
        totals[name] = totals.get(name, 0) + times
    return totals


def _axis(side: Width, space: Space, counts: int) -> Axis:
    """The axis of one side: its options' counts, or the lattice of the sums of several groups."""
    values = [(space.positions["channels", name], times) for name, times in _times(side).items()]
    channels = [
        times * np.array(channel_counts(space.variables[index]), dtype=np.int64)
        for index, times in values
    ]
    if len(values) == 1:
        steps = (np.arange(len(channels[0])),)
        totals = side.fixed + channels[0]
    else:
        step = math.gcd(*(int(gap) for each in channels for gap in each - each[0]))
        steps = tuple((each - each[0]) // step for each in channels)
        least = side.fixed + sum(int(each[0]) for each in channels)
        totals = least + step * np.arange(sum(int(each[-1]) for each in steps) + 1)
    spaced = np.linspace(0, len(totals) - 1, min(counts, len(totals)))
    priced = np.unique(np.rint(spaced).astype(np.int64))
    named = tuple((index, each) for (index, _), each in zip(values, steps, strict=True))
    return Axis(named, totals, None, priced)
