"""The channels of a layer as dimensions of its table.

Channel counts that come from several groups (a concatenation) are indexed by their sum, so that a
dense block of sixty layers stays a table of a few hundred rows.
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


def settle(plan: LayerPlan, network: Network, space: Space) -> LayerPlan:
    """The plan with the groups that the space does not open counted as fixed."""
    dense = network.dense_channels

    def width(side: Width) -> Width:
        still = tuple(part for part in side.parts if ("channels", part[0]) in space.positions)
        closed = (part for part in side.parts if part not in still)
        return Width(side.fixed + sum(times * dense[name] for name, times in closed), still)

    return replace(plan, inputs=width(plan.inputs), outputs=width(plan.outputs))


def axes_of(plan: LayerPlan, space: Space, counts: int) -> tuple[Axis, ...]:
    """Of a settled plan: none, one or two, each priced at so many counts at most."""
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
