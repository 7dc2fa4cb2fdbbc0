"""The channels of one layer as axes of its table: what it reads, what it writes, and its heads.

Channel counts that come from several groups (a concatenation) are indexed by their sum, so that a
dense block of sixty layers stays a table of a few hundred rows. Heads and the width of each are
indexed by the pair of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from automl.network import LayerPlan, Network, Width
from automl.space import Space, channel_counts

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of a layer's table, indexed by the sum of its variables' steps.

    Attributes:
        steps: Per variable of the space: what each of its options adds to the index.
        inputs: Input channels at each index, or None where the axis does not decide them.
        outputs: Output channels at each index, or None.
        priced: Indices for which prices are asked, by ascending counts; those between are
            interpolated.
        heads: Heads at each index, or None.
    """

    steps: tuple[tuple[int, Integers], ...]
    inputs: Integers | None
    outputs: Integers | None
    priced: Integers
    heads: Integers | None = None

    @property
    def counts(self) -> Integers:
        """What the axis decides, at each index."""
        return next(c for c in (self.inputs, self.outputs, self.heads) if c is not None)

    @property
    def size(self) -> int:
        """Number of indices."""
        return len(self.counts)

    @property
    def between(self) -> NDArray[np.bool_]:
        """Which indices are interpolated."""
        return ~np.isin(self.counts, self.counts[self.priced])

    def weights(self) -> Floats:
        """Linear interpolation from priced indices to all: [size, priced]."""
        counts = self.counts
        known = counts[self.priced].astype(np.float64)
        return np.stack([np.interp(counts, known, row) for row in np.eye(len(self.priced))], axis=1)


def settle(plan: LayerPlan, network: Network, space: Space) -> LayerPlan:
    """The plan with the groups that the space does not open counted as fixed."""
    dense = network.dense_channels
    heads = None if plan.heads is None else _settled(plan.heads, dense, space)
    inputs, outputs = (_settled(side, dense, space) for side in (plan.inputs, plan.outputs))
    return replace(plan, inputs=inputs, outputs=outputs, heads=heads)


def _settled(side: Width, dense: Mapping[str, int], space: Space) -> Width:
    terms = [((name,), times) for name, times in side.parts]
    fixed, parts, products = side.fixed, [], []
    for names, times in (*terms, *side.products):
        still = tuple(name for name in names if ("channels", name) in space.positions)
        times *= math.prod(dense[name] for name in names if name not in still)
        if not still:
            fixed += times
        elif len(still) == 1:
            parts.append((still[0], times))
        else:
            products.append(((still[0], still[1]), times))
    return Width(fixed, tuple(parts), tuple(products))


def axes_of(plan: LayerPlan, space: Space, counts: int) -> tuple[Axis, ...]:
    """The axes of a settled plan, none where nothing of it is open.

    Args:
        plan: Of the layer.
        space: The choices.
        counts: At most so many channel counts are priced a side.
    """
    axes = _sides(plan, space, counts)
    if plan.heads is not None and plan.heads.groups:
        side = _axis(plan.heads, space, counts)
        axes = (*axes, Axis(side.steps, None, None, side.priced, side.inputs))
    return axes


def _sides(plan: LayerPlan, space: Space, counts: int) -> tuple[Axis, ...]:
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


def _times(side: Width) -> Mapping[tuple[str, ...], int]:
    totals: dict[tuple[str, ...], int] = {}
    for name, times in side.parts:
        totals[name,] = totals.get((name,), 0) + times
    for names, times in side.products:
        totals[names] = totals.get(names, 0) + times
    return totals


def _axis(side: Width, space: Space, counts: int) -> Axis:
    """The axis of one side: its options' counts, or those of several groups together."""
    variables = [space.positions["channels", name] for name in side.groups]
    if side.products:
        steps, totals = _pairs(side, space, variables)
    else:
        steps, totals = _sums(side, space, variables)
    values, first = np.unique(totals, return_index=True)
    spaced = np.linspace(0, len(values) - 1, min(counts, len(values)))
    priced = first[np.unique(np.rint(spaced).astype(np.int64))]
    return Axis(tuple(zip(variables, steps, strict=True)), totals, None, priced)


def _sums(side: Width, space: Space, variables: list[int]) -> tuple[tuple[Integers, ...], Integers]:
    """The lattice of the sums of several groups."""
    times = _times(side)
    channels = [
        times[name,] * np.array(channel_counts(space.variables[index]), dtype=np.int64)
        for index, name in zip(variables, side.groups, strict=True)
    ]
    if len(channels) == 1:
        return (np.arange(len(channels[0])),), side.fixed + channels[0]
    step = math.gcd(*(int(gap) for each in channels for gap in each - each[0]))
    steps = tuple((each - each[0]) // step for each in channels)
    least = side.fixed + sum(int(each[0]) for each in channels)
    return steps, least + step * np.arange(sum(int(each[-1]) for each in steps) + 1)


def _pairs(
    side: Width, space: Space, variables: list[int]
) -> tuple[tuple[Integers, ...], Integers]:
    """All choices of the groups, the last one's running fastest."""
    options = [np.array(channel_counts(space.variables[each]), np.int64) for each in variables]
    grids = np.meshgrid(*options, indexing="ij")
    kept = dict(zip(side.groups, grids, strict=True))
    totals = np.full(grids[0].shape, side.fixed, dtype=np.int64)
    for names, times in _times(side).items():
        totals += times * math.prod((kept[name] for name in names), start=np.int64(1))
    sizes = [len(each) for each in options]
    steps = tuple(
        math.prod(sizes[place + 1 :]) * np.arange(size) for place, size in enumerate(sizes)
    )
    return steps, totals.ravel()
