"""Times between measured rows that differ in channels alone; never beyond them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.latency.keys import OpKey
from automl.latency.rows import Row

Floats = NDArray[np.float64]

_AS_CHANNELS: Final = 0  # stands for "as many groups as channels"
Family = tuple[object, ...]


def family(key: OpKey) -> Family:
    """What rows share that differ in channels alone."""
    depthwise = key.op in ("depthwise_conv2d", "depthwise_conv3d") and key.groups == key.in_channels
    return (
        key.op,
        key.kernel,
        key.stride,
        key.padding,
        key.dilation,
        _AS_CHANNELS if depthwise else key.groups,
        key.in_size,
        key.out_size,
        key.detail,
        key.precision,
        key.batch,
    )


class Interpolator:
    """Bilinear interpolation in (in_channels, out_channels) within families of rows.

    The spread of an interpolated value is the largest of the rows that it lies between, plus a
    quarter of how much they differ: a step between them would be missed.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._members: dict[Family, list[Row]] = defaultdict(list)
        self._grids: dict[Family, _Grid] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Take a further row into account."""
        kind = family(row.key)
        self._members[kind].append(row)
        self._grids.pop(kind, None)

    def at(self, keys: Sequence[OpKey]) -> tuple[Floats, Floats]:
        """Seconds and relative spread of each key; NaN where rows do not surround it."""
        seconds = np.full(len(keys), np.nan)
        spread = np.full(len(keys), np.nan)
        wanted: dict[Family, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            kind = family(key)
            if kind in self._members:
                wanted[kind].append(index)
        for kind, indices in wanted.items():
            if kind not in self._grids:
                self._grids[kind] = _Grid(self._members[kind])
            channels = np.array([(keys[i].in_channels, keys[i].out_channels) for i in indices])
            seconds[indices], spread[indices] = self._grids[kind].at(channels)
        return seconds, spread


class _Grid:
    """The rows of one family on the grid of their channels, holes filled from inside only."""

    def __init__(self, rows: Sequence[Row]) -> None:
        inputs = np.array([row.key.in_channels for row in rows])
        outputs = np.array([row.key.out_channels for row in rows])
        self._tied = bool(np.all(inputs == outputs))
        if self._tied:  # one axis: in = out, as of additions, pools and depthwise convolutions
            outputs = np.zeros_like(outputs)
        self._inputs, i = np.unique(inputs, return_inverse=True)
        self._outputs, j = np.unique(outputs, return_inverse=True)
        shape = (len(self._inputs), len(self._outputs))
        self._seconds = np.full(shape, np.nan)
        self._spread = np.full(shape, np.nan)
        self._seconds[i, j] = [row.seconds for row in rows]
        self._spread[i, j] = [0.0 if np.isnan(row.spread) else row.spread for row in rows]
        for values in (self._seconds, self._spread):
            for line in values:
                _fill(self._outputs, line)
            for column in values.T:
                _fill(self._inputs, column)

    def at(self, channels: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Seconds and spread at each (in, out) pair, NaN outside."""
        inputs, outputs = channels[:, 0], channels[:, 1]
        outside = np.zeros(len(channels), dtype=bool)
        if self._tied:
            outside |= inputs != outputs
            outputs = np.zeros_like(outputs)
        i, down, out_of_rows = _position(self._inputs, inputs)
        j, across, out_of_columns = _position(self._outputs, outputs)
        outside |= out_of_rows | out_of_columns
        corners = [(i, j), (i, j + (across > 0)), (i + (down > 0), j)]
        corners.append((i + (down > 0), j + (across > 0)))
        weights = [
            (1 - down) * (1 - across),
            (1 - down) * across,
            down * (1 - across),
            down * across,
        ]
        times = np.stack([self._seconds[corner] for corner in corners])
        seconds = np.sum(np.stack(weights) * times, axis=0)
        seconds[outside] = np.nan
        spread = np.max(np.stack([self._spread[corner] for corner in corners]), axis=0)
        return seconds, spread + 0.25 * (times.max(axis=0) - times.min(axis=0)) / seconds


def _fill(axis: NDArray[np.int64], values: Floats) -> None:
    """Fill NaN between known values linearly, in place."""
    known = ~np.isnan(values)
    if known.sum() < 2 or known.all():
        return
    filled = np.interp(axis, axis[known], values[known], left=np.nan, right=np.nan)
    values[~known] = filled[~known]


def _position(
    axis: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats, NDArray[np.bool_]]:
    """Index of the value at or below each wanted one, the share of the way to the next, outside."""
    outside = (wanted < axis[0]) | (wanted > axis[-1])
    lower = np.clip(np.searchsorted(axis, wanted, side="right") - 1, 0, len(axis) - 1)
    upper = np.minimum(lower + 1, len(axis) - 1)
    gap = np.maximum(axis[upper] - axis[lower], 1)
    share = np.where(outside, 0.0, (wanted - axis[lower]) / gap)
    return lower.astype(np.int64), share, outside
