"""One layer's price for every choice that it hangs on, as an array.

A layer's price hangs on what it reads and writes (in channels), the resolution, its precision, and
whether its block is kept. Channel counts that come from several groups (a concatenation) are
indexed by their sum, so that a dense block of sixty layers stays a table of a few hundred rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.latency.keys import OpKey, op_key
from automl.network.layers import LayerPlan, Network, Width
from automl.policy import Bits
from automl.space import Space, channel_counts

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

WEIGHTED: Final = ("conv2d", "depthwise_conv2d", "conv_transpose2d", "linear")
#: Bits of a weight by the first letters of a precision's name; "w4a6" names its own.
_WEIGHT_BITS: Final = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8}


def weight_bits(precision: str) -> int:
    """Bits that one weight takes: 32 for "fp32", 4 for "w4a6"."""
    known = _WEIGHT_BITS.get(precision)
    return known if known is not None else int(precision[1:].partition("a")[0])


def precision_name(bits: Bits) -> str:
    """What a table calls a choice of bits."""
    known = {(32, 32): "fp32", (16, 16): "fp16", (8, 8): "int8"}
    pair = (bits.weights, bits.activations)
    return known.get(pair, f"w{bits.weights}a{bits.activations}")


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of a layer's table, indexed by the sum of its variables' steps.

    Attributes:
        steps: Per variable of the space: what each of its options adds to the index.
        read: Input channels at each index, or None where the axis does not decide them.
        written: Output channels at each index, or None.
        priced: Indices for which prices are asked; those between are interpolated.
    """

    steps: tuple[tuple[int, Integers], ...]
    read: Integers | None
    written: Integers | None
    priced: Integers

    @property
    def size(self) -> int:
        """Number of indices."""
        counts = self.read if self.read is not None else self.written
        assert counts is not None
        return len(counts)

    def weights(self) -> Floats:
        """Linear interpolation from priced indices to all: [size, priced]."""
        counts = self.read if self.read is not None else self.written
        assert counts is not None
        known = counts[self.priced].astype(np.float64)
        return np.stack([np.interp(counts, known, row) for row in np.eye(len(self.priced))], axis=1)


@dataclass(frozen=True, slots=True)
class LayerTable:
    """What the price of one layer hangs on.

    Attributes:
        plan: The layer.
        resolutions: Indices into `plan.sizes` to choose from.
        precisions: Names of the precisions to choose from.
        axes: Of its channels: none, one or two.
        resolution_variable, bits_variable, gate: Variables of the space, or -1.
    """

    plan: LayerPlan
    resolutions: tuple[int, ...]
    precisions: tuple[str, ...]
    axes: tuple[Axis, ...]
    resolution_variable: int = -1
    bits_variable: int = -1
    gate: int = -1

    @property
    def shape(self) -> tuple[int, ...]:
        """[resolutions, precisions, size of each axis]."""
        return (
            len(self.resolutions),
            len(self.precisions),
            *(axis.size for axis in self.axes),
        )

    def op_keys(self) -> list[OpKey]:
        """What has to be priced, in C order of [resolutions, precisions, priced of each axis]."""
        priced = [axis.priced for axis in self.axes]
        read, written = (counts.ravel().tolist() for counts in self._counts(priced))
        return [
            op_key(self.plan.sized(inputs, outputs, resolution), precision)
            for resolution in self.resolutions
            for precision in self.precisions
            for inputs, outputs in zip(read, written, strict=True)
        ]

    def spread(self, priced: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Prices of all indices from those of `op_keys()` [keys], and which were interpolated."""
        lengths = [len(axis.priced) for axis in self.axes]
        table = priced.reshape(len(self.resolutions), len(self.precisions), *lengths)
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
        for column, precision in enumerate(self.precisions):
            bits = weight_bits(precision)
            weights[:, column] *= bits / 8
            # Runtimes keep the biases of quantised layers in 32 bits.
            weights[:, column] += biases * np.float64(2 if bits == 16 else 4)
        return macs, weights

    def _counts(self, indices: Sequence[Integers]) -> tuple[Integers, Integers]:
        """Read and written channels over the grid of axis indices."""
        shape = tuple(len(index) for index in indices)
        read = np.full(shape, self.plan.read.fixed, dtype=np.int64)
        written = np.full(shape, self.plan.written.fixed, dtype=np.int64)
        for position, (axis, index) in enumerate(zip(self.axes, indices, strict=True)):
            along = [1] * len(shape)
            along[position] = -1
            if axis.read is not None:
                read[:] = axis.read[index].reshape(along)
            if axis.written is not None:
                written[:] = axis.written[index].reshape(along)
        return read, written

    def _products(self, read: Integers, written: Integers) -> Integers:
        """Pairs of an input and an output channel that are connected."""
        if self.plan.scales_groups:
            return written
        groups = self.plan.layer.groups if self.plan.layer.op in WEIGHTED else 1
        return read * written // groups


def layer_tables(
    network: Network, space: Space, precision: str, counts: int
) -> Iterator[LayerTable]:
    """The tables of a network's layers, at most `counts` priced counts a side."""
    positions = space.positions
    resolution = positions.get(("resolution", ""), -1)
    sizes: Sequence[int] = network.resolutions[-1:]
    if resolution >= 0:
        sizes = [size for size in space.variables[resolution].options if isinstance(size, int)]
    indices = tuple(network.resolutions.index(size) for size in sizes) or (-1,)
    for plan in network.plans:
        bits = positions.get(("bits", plan.layer.name), -1)
        precisions: tuple[str, ...] = (precision,)
        if bits >= 0:
            options = space.variables[bits].options
            precisions = tuple(precision_name(o) for o in options if isinstance(o, Bits))
        settled = _settle(plan, network, space)
        axes = _axes(settled, space, counts)
        gate = positions.get(("block", plan.block), -1) if plan.block else -1
        yield LayerTable(settled, indices, precisions, axes, resolution, bits, gate)


def _settle(plan: LayerPlan, network: Network, space: Space) -> LayerPlan:
    """The plan with the groups that the space does not open counted as fixed."""
    dense = network.dense_channels

    def width(side: Width) -> Width:
        still = tuple(part for part in side.parts if ("channels", part[0]) in space.positions)
        closed = (part for part in side.parts if part not in still)
        return Width(side.fixed + sum(times * dense[name] for name, times in closed), still)

    return replace(plan, read=width(plan.read), written=width(plan.written))


def _axes(plan: LayerPlan, space: Space, counts: int) -> tuple[Axis, ...]:
    read, written = _times(plan.read), _times(plan.written)
    if not read and not written:
        return ()
    ratios = {written[name] / read[name] for name in read} if read.keys() == written.keys() else {}
    if len(ratios) == 1:
        axis = _axis(plan.read, space, counts)
        assert axis.read is not None
        (ratio,) = ratios
        outputs = np.rint((axis.read - plan.read.fixed) * ratio).astype(np.int64)
        return (Axis(axis.steps, axis.read, outputs + plan.written.fixed, axis.priced),)
    axes: list[Axis] = []
    if read:
        axes.append(_axis(plan.read, space, counts))
    if written:
        side = _axis(plan.written, space, counts)
        axes.append(Axis(side.steps, None, side.read, side.priced))
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
