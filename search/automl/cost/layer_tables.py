"""One layer's price for every choice that it depends on, as an array.

A layer's price depends on what it reads and writes (in channels), the resolution, the way in which
it runs (as itself or as other operators, in the precision of its owner), and whether its block is
kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from automl.cost.axes import Axis, axes_of, settle
from automl.cost.grids import Lowered, Operators, Way, operators_over, runs_on_integers, sized
from automl.network import (
    RECURRENT,
    UNPRICED,
    WEIGHTED,
    Layer,
    LayerPlan,
    MergedPlan,
    Network,
    merged_plans,
)
from automl.policy import FLOAT_BITS, Bits, Precisions, bits_of, packed_bytes
from automl.space import AnyKind, Space, Variable, bit_options, kind_of

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


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


#: A variable of the space, and per option whether a layer runs.
Gate = tuple[int, tuple[bool, ...]]
#: Of blocks that are kept, and of merges that are not made: the dense option is the last of two.
_DENSE: Final = (False, True)
_OTHER: Final = (True, False)


@dataclass(frozen=True, slots=True)
class LayerTable:
    """What the price of one layer depends on.

    Attributes:
        plan: The layer.
        resolutions: Indices into `plan.sizes` to choose from.
        ways: The ways in which it runs.
        axes: Of its channels: none, one or two.
        resolution_variable: Of the space, where it depends on it.
        gates: Variables of the space, and with which of their options the layer runs; with others
            it costs nothing.
    """

    plan: LayerPlan
    resolutions: tuple[int, ...]
    ways: Ways
    axes: tuple[Axis, ...]
    resolution_variable: int | None = None
    gates: tuple[Gate, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """[resolutions, assignments of the ways' choosers, size of each axis]."""
        return (
            len(self.resolutions),
            len(self.ways.chosen),
            *(axis.size for axis in self.axes),
        )

    def operators(self) -> Operators:
        """What has to be priced, in C order of [resolutions, ways, priced of each axis]."""
        priced = [axis.priced for axis in self.axes]
        read, written, heads = (each.ravel() for each in self._counts(priced))
        return operators_over(self.plan, self.resolutions, self.ways.priced, (read, written, heads))

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
                shape = [1] * len(self.shape)
                shape[position] = axis.size
                between |= axis.between.reshape(shape)
        return table, between

    def work(self) -> tuple[Floats, Floats]:
        """Exact MACs and bytes of weights and biases, each of `shape`."""
        read, written, heads = self._counts([np.arange(axis.size) for axis in self.axes])
        layer, held = self.plan.layer, self.plan.parameters
        macs = np.zeros(self.shape)
        weights = np.zeros(self.shape)
        macs[:] = self._macs(read, written, heads)[:, None]
        if held.weights:
            weights[:] = self._products(read, written, heads) * math.prod(layer.kernel)
        biases = held.per_output * written + held.fixed
        for column, bits in enumerate(self.ways.bits):
            if layer.op not in WEIGHTED:  # a norm follows its owner's bits, but is not rounded
                bits = bits if bits.weights >= FLOAT_BITS else Bits()
            way = self.ways.chosen[column]
            lower = None if way is None else self.ways.priced[way].lower
            if lower is None:
                weights[:, column] = packed_bytes(weights[:, column], written, biases, bits)
            else:
                count = partial(work_of, lower, bits)
                macs[:, column], size = self._work_of(
                    count, read, written, arrays=lower.kind.lowers_arrays
                )
                weights[:, column] = size * held.weights + packed_bytes(0, 0, biases, bits)
        return macs, weights

    def _macs(self, read: Integers, written: Integers, heads: Integers) -> Floats:
        """MACs of the layer as itself: [resolutions, size of each axis]."""
        layer = self.plan.layer
        if layer.op in RECURRENT:  # they are no multiple of the pairs of channels
            found, _ = self._work_of(lambda each: (each.macs, 0.0), read, written)
            return found
        products = self._products(read, written, heads)
        dense = int(self._products(*map(np.array, (layer.in_channels, layer.out_channels, 0))))
        whole = [
            self.plan.sized(layer.in_channels, layer.out_channels, resolution).macs
            for resolution in self.resolutions
        ]
        times = [each / dense if dense else 0.0 for each in whole]
        return np.rint(np.stack([products * each for each in times]))

    def _work_of(
        self,
        count: Callable[[Layer], tuple[Any, Any]],
        read: Integers,
        written: Integers,
        *,
        arrays: bool = False,
    ) -> tuple[Floats, Floats]:
        """MACs and bytes of the layer at all channels: [resolutions, size of each axis].

        Args:
            count: Gives both of a layer.
            read, written: Channels.
            arrays: Whether `count` takes a layer with arrays of channels for numbers.
        """
        shape = (len(self.resolutions), *read.shape)
        macs, sizes = np.empty(shape), np.empty(shape)
        for place, resolution in enumerate(self.resolutions):
            if arrays:
                macs[place], sizes[place] = count(sized(self.plan, read, written, resolution))
                continue
            pairs = zip(read.ravel().tolist(), written.ravel().tolist(), strict=True)
            work = [count(self.plan.sized(*pair, resolution)) for pair in pairs]
            both = np.array(work, dtype=np.float64).T
            macs[place], sizes[place] = (each.reshape(read.shape) for each in both)
        return macs, sizes

    def _counts(self, indices: Sequence[Integers]) -> tuple[Integers, Integers, Integers]:
        """Read channels, written channels and heads (0: all) over the grid of axis indices."""
        shape = tuple(len(index) for index in indices)
        plan = self.plan
        heads = plan.heads.fixed if plan.heads else 0
        fixed = (plan.inputs.fixed, plan.outputs.fixed, heads)
        found = tuple(np.full(shape, each, dtype=np.int64) for each in fixed)
        for position, (axis, index) in enumerate(zip(self.axes, indices, strict=True)):
            along = [1] * len(shape)
            along[position] = -1
            for counts, each in zip(found, (axis.inputs, axis.outputs, axis.heads), strict=True):
                if each is not None:
                    counts[:] = each[index].reshape(along)
        read, written, heads_ = found
        return read, written, heads_

    def _products(self, read: Integers, written: Integers, heads: Integers) -> Integers:
        """Pairs of an input and an output channel that are connected."""
        if self.plan.scales_groups:
            return written
        if self.plan.layer.op not in WEIGHTED:
            return read * written * np.where(heads > 0, heads, self.plan.layer.groups)
        return read * written // self.plan.layer.groups


def runs_priced(op: str, precisions: Precisions) -> bool:
    """Whether a target prices an operator: a simulator knows convolutions and linear layers."""
    return op != UNPRICED and (op in WEIGHTED or not precisions.simulated)


def unpriced_in(network: Network, precisions: Precisions) -> tuple[str, ...]:
    """Operators with weights that a target does not price, each once, and where they are."""
    weighted = (layer for layer in network.layers if layer.op in (UNPRICED, *RECURRENT))
    lacking = (layer for layer in weighted if not runs_priced(layer.op, precisions))
    return tuple(
        dict.fromkeys(
            each.detail if each.op == UNPRICED else f"{each.op} in {each.name}" for each in lacking
        )
    )


def work_of(lower: Lowered, bits: Bits, layer: Layer) -> tuple[Any, Any]:
    """MACs of what runs in place of a layer, and bytes of its weights without the biases.

    Args:
        lower: What it runs as.
        bits: What its weights are stored in.
        layer: Both are arrays where its channels are.
    """
    return sum(each.macs for each in lower(layer)), lower.bytes(layer, bits)


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
        """One a layer, in network order; then one for each that others may become."""
        for plan in self.network.plans:
            yield self.table(plan, self.ways(plan))
        for each in self.merged:
            yield self.table(each.plan, self.ways(each.plan), self.made(each))
        for position, variable, kind in self._replacing:
            for number, option in enumerate(variable.options[:-1]):
                chosen = tuple(place == number for place in range(len(variable.options)))
                for plan in kind.running(option, self.network, variable.name):
                    gates = ((position, chosen), *self.block_gate(plan))
                    yield self.table(plan, self.ways(plan), gates)

    @cached_property
    def _replacing(self) -> tuple[tuple[int, Variable, AnyKind], ...]:
        """Variables whose options make others run in the place of layers."""
        some = (
            (place, each, kind_of(each.kind)) for place, each in enumerate(self.space.variables)
        )
        return tuple(each for each in some if each[2].replaces)

    def table(
        self, plan: LayerPlan, ways: Ways, gates: tuple[Gate, ...] | None = None
    ) -> LayerTable:
        """The table of one layer that runs in these ways.

        Args:
            plan: Of the layer.
            ways: In which it runs.
            gates: When it does; None for what its block and the merges of it say.
        """
        positions = self.space.positions
        settled = settle(plan, self.network, self.space)
        axes = axes_of(settled, self.space, self.counts)
        gates = self.gates(plan) if gates is None else gates
        resolution = positions.get(("resolution", ""))
        resolutions = self._resolutions(plan, resolution)
        return LayerTable(settled, resolutions, ways, axes, resolution, gates)

    def gates(self, plan: LayerPlan) -> tuple[Gate, ...]:
        """A layer runs where its block is kept and nothing else runs in its place."""
        merges = [name for name, layers in self._merged.items() if plan.layer.name in layers]
        parts = [("block", plan.block), *(("merge", name) for name in merges)]
        positions = self.space.positions
        gates: list[Gate] = [(positions[part], _DENSE) for part in parts if part in positions]
        for position, gone in self._replaced:
            runs = tuple(plan.layer.name not in each for each in gone)
            if not all(runs):
                gates.append((position, runs))
        return tuple(gates)

    @cached_property
    def _replaced(self) -> tuple[tuple[int, tuple[frozenset[str], ...]], ...]:
        """Per variable that has others run: by its options, which layers do not."""
        return tuple(
            (
                position,
                tuple(kind.gone(each, self.network, variable.name) for each in variable.options),
            )
            for position, variable, kind in self._replacing
        )

    def block_gate(self, plan: LayerPlan) -> tuple[Gate, ...]:
        """A layer runs where its block is kept."""
        position = self.space.positions.get(("block", plan.block))
        return () if position is None else ((position, _DENSE),)

    def apart(self, merges: Iterable[str]) -> tuple[Gate, ...]:
        """Where none of these merges is made, of those that are open."""
        places = (self.space.positions.get(("merge", name)) for name in merges)
        return tuple((place, _DENSE) for place in places if place is not None)

    @cached_property
    def merged(self) -> tuple[MergedPlan, ...]:
        """What may run in the place of layers that become one, by merges that are open."""
        opened = {self.space.variables[each].name for each in self.space.of_kind("merge")}
        return tuple(each for each in merged_plans(self.network) if opened.issuperset(each.made))

    def made(self, merged: MergedPlan) -> tuple[Gate, ...]:
        """One layer runs where all its merges are made, and none that would make more of it."""
        positions = self.space.positions
        made = [(positions["merge", name], _OTHER) for name in merged.made]
        others = [("block", name) for name in merged.blocks]
        others += [("merge", name) for name in merged.beside]
        return (*made, *((positions[part], _DENSE) for part in others if part in positions))

    @cached_property
    def _merged(self) -> Mapping[str, frozenset[str]]:
        """Per merge, the layers that no longer run."""
        return {merge.name: frozenset(merge.gone) for merge in self.network.merges}

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

    def ways(self, plan: LayerPlan) -> Ways:
        """In which ways a layer runs, and what chooses between them."""
        dense, op = self.precisions.dense, plan.layer.op
        choice = self.choice(plan.owner, plan.block)
        options = (bits_of(dense),) if choice is None else choice[1]
        names = [self.precisions.name_of(bits) for bits in options]
        if not runs_on_integers(plan.layer):
            names = [dense] * len(names)
        choosers = () if choice is None else ((choice[0], len(options)),)
        if not runs_priced(op, self.precisions):
            return Ways((), (None,) * len(names), options, choosers)
        form, lowerings = self._lowerings.get(plan.layer.name, (None, (None,)))
        if form is not None:
            choosers = ((form, len(lowerings)), *choosers)
        own = plan.kernel
        ways = [Way(name, lower, dense, own) for lower, name in product(lowerings, names)]
        priced = tuple(dict.fromkeys(ways))
        bits = options * len(lowerings)
        return Ways(priced, tuple(map(priced.index, ways)), bits, choosers)

    @cached_property
    def _lowerings(self) -> Mapping[str, tuple[int, tuple[Lowered | None, ...]]]:
        """Per layer that can run as others: the variable, and what each option makes of it."""
        found: dict[str, tuple[int, tuple[Lowered | None, ...]]] = {}
        for position, variable in enumerate(self.space.variables):
            kind = kind_of(variable.kind)
            if kind.lowers:
                lowered = [Lowered(kind, option) for option in variable.options[:-1]]
                found[variable.name] = position, (*lowered, None)  # the dense one is itself
        return found
