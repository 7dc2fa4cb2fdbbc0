"""Operators that were not measured, predicted from those that were: a Gaussian process.

Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, section 2.2 (prediction),
5.4.2 (leaving one out). It works on logarithms of times. Its covariance is a line along the
logarithms of channels, size and kernel, which operators of one type share, and a smooth deviation
from it in channels and size for operators that differ in these alone. Half of the deviation is
common to all precisions. What neighbouring shapes differ by beyond that counts as noise.

Length scales and amplitudes maximise the marginal likelihood of 3,960 convolutions of nine networks
that were measured on one x86 processor (ONNX Runtime 1.30, AVX-512, one thread). The uncertainty
that is stated is scaled by how wrong each measured operator is predicted from the others.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

from automl.latency.keys import MISSING, SOURCES, OpKey, Timings
from automl.latency.table import LatencyTable
from automl.network import RECURRENT, WEIGHTED

Floats = NDArray[np.float64]

#: Of the deviation, in octaves of input channels, output channels and width.
_LENGTHS: Final = np.array([2.5, 2.5, 1.7])
_DEVIATION: Final = 0.6
#: Of one type of operator, and of one of its precisions, in natural logarithms of seconds.
_TYPE, _PRECISION = 3.0, 1.0
#: Slopes along octaves of input channels, output channels, width, kernel, padding of channels to
#: blocks, and groups.
_SLOPES: Final = np.array([0.5, 0.3, 0.8, 0.2, 0.4, 0.2, 0.3])
#: What the time of one shape differs from its neighbours' by.
_NOISE: Final = 0.07
_BLOCK: Final = 16
#: Covariances that are computed at once.
_AT_ONCE: Final = 1 << 19
#: A row that is noisier counts as noisy as this.
_NOISIEST: Final = 0.5
#: Operators that multiply matrices.
_PRODUCTS: Final = (*WEIGHTED, *RECURRENT, "matmul")


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Operators as the covariance sees them.

    Attributes:
        place: [operators, 3] octaves of channels and width.
        line: [operators, features] what times rise along.
        type, precision, family, runs: [operators] numbers of the type, of it in its precision, of
            what differs in channels and size alone, and of the last in its precision.
    """

    place: Floats
    line: Floats
    type: NDArray[np.int64]
    precision: NDArray[np.int64]
    family: NDArray[np.int64]
    runs: NDArray[np.int64]

    def take(self, chosen: NDArray[np.int64]) -> _Shapes:
        """Some of the operators."""
        return _Shapes(
            self.place[chosen],
            self.line[chosen],
            self.type[chosen],
            self.precision[chosen],
            self.family[chosen],
            self.runs[chosen],
        )


class _Numbers:
    """Numbers things in the order in which they are first seen."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def shapes(self, keys: Sequence[OpKey]) -> _Shapes:
        """The operators of keys."""
        types = [(key.op, key.detail, _blocked(key)) for key in keys]
        families = [
            (*kind, key.kernel, key.stride, key.dilation, _grouping(key))
            for kind, key in zip(types, keys, strict=True)
        ]
        precisions = [key.precision for key in keys]
        return _Shapes(
            _octaves([(k.in_channels, k.out_channels, _width(k)) for k in keys]),
            _octaves([_line(key) for key in keys]) * _SLOPES,
            self._of(types),
            self._of(list(zip(types, precisions, strict=True))),
            self._of(families),
            self._of(list(zip(families, precisions, strict=True))),
        )

    def _of(self, things: Sequence[Hashable]) -> NDArray[np.int64]:
        known = self._known
        return np.array([known.setdefault(each, len(known)) for each in things], dtype=np.int64)


def _octaves(values: Sequence[tuple[float, ...]]) -> Floats:
    found: Floats = np.log2(np.array(values, dtype=np.float64))
    return found


def _width(key: OpKey) -> float:
    return float(np.sqrt(prod(key.out_size) * key.batch))


def _line(key: OpKey) -> tuple[float, ...]:
    read, written = key.in_channels, key.out_channels
    return (
        *(read, written, _width(key), prod(key.kernel)),
        *(-(-read // _BLOCK) * _BLOCK / read, -(-written // _BLOCK) * _BLOCK / written),
        key.groups,
    )


def _blocked(key: OpKey) -> bool:
    """Whether an operator that only moves maps gets whole blocks of channels.

    ONNX Runtime has a quick kernel for those and another, up to 30 times slower, for the others;
    convolutions and products pad their channels.
    """
    return key.op in _PRODUCTS or key.in_channels % _BLOCK == 0


def _grouping(key: OpKey) -> int:
    """Groups, as 0 where there are as many as channels."""
    return 0 if 1 < key.groups == key.in_channels else key.groups


def _covariance(a: _Shapes, b: _Shapes) -> Floats:
    """[len(a), len(b)], computed a few rows at a time: each takes some ten numbers on the way."""
    result = np.empty((len(a.type), len(b.type)))
    for part in _spans(len(a.type), max(1, _AT_ONCE // max(1, len(b.type)))):
        result[part] = _rows(a.take(np.arange(part.start, part.stop)), b)
    return result


def _rows(a: _Shapes, b: _Shapes) -> Floats:
    """Of few rows at once."""

    def same(name: str) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = getattr(a, name)[:, None] == getattr(b, name)[None]
        return found

    near = np.zeros((len(a.type), len(b.type)))
    for axis, length in enumerate(_LENGTHS):
        near += ((a.place[:, None, axis] - b.place[None, :, axis]) / length) ** 2
    deviation = _DEVIATION**2 * np.exp(-0.5 * near)
    shared = 0.5 * (same("family").astype(np.float64) + same("runs"))
    line = _TYPE**2 + a.line @ b.line.T
    found: Floats = deviation * shared + line * same("type") + _PRECISION**2 * same("precision")
    return found


def _variances(shapes: _Shapes) -> Floats:
    found: Floats = _DEVIATION**2 + _TYPE**2 + _PRECISION**2 + np.square(shapes.line).sum(axis=1)
    return found


def most_telling(
    keys: Sequence[OpKey], known: Sequence[OpKey], most: int, uncertainty: float = 0.0
) -> list[OpKey]:
    """The operators to measure, beside those that are, so that all others can be predicted.

    One after another the operator of which least is known is taken: a Cholesky decomposition of
    the prior covariance, pivoted (Golub and Van Loan, 4.2.8), which is known before anything was
    measured.

    Args:
        keys: To choose from.
        known: Measured, or about to be.
        most: So many at most.
        uncertainty: Relative, up to which an operator counts as known.
    """
    held = set(known)
    wanted = [key for key in dict.fromkeys(keys) if key not in held]
    everything = [*held, *wanted]
    shapes = _Numbers().shapes(everything)
    left = _variances(shapes)
    rows = np.zeros((len(held) + min(most, len(wanted)), len(everything)))
    chosen: list[OpKey] = []
    for step in range(len(rows)):
        pivot = step if step < len(held) else len(held) + int(np.argmax(left[len(held) :]))
        if step >= len(held):
            if left[pivot] <= uncertainty**2:
                break
            chosen.append(everything[pivot])
        row = (
            _covariance(shapes.take(np.array([pivot])), shapes)[0]
            - rows[:step, pivot] @ rows[:step]
        )
        rows[step] = row / np.sqrt(left[pivot] + _NOISE**2)
        left = np.maximum(left - rows[step] ** 2, 0.0)
        left[pivot] = 0.0  # what its noise leaves is not what measuring it again would tell
    return chosen


class GaussianPricer:
    """A table whose measured rows also price what lies near them; a `Pricer`.

    Rows are looked up. Other operators of a type that has rows are predicted, their source is
    "fitted"; those of a type without rows have no price.

    Args:
        rows: What was measured: seconds and relative spread of each operator.
    """

    def __init__(self, rows: Mapping[OpKey, tuple[float, float]]) -> None:
        self._rows = dict(rows)

    @classmethod
    def of(cls, table: LatencyTable) -> GaussianPricer:
        """Of a table's measured rows."""
        return cls(
            {row.key: (row.seconds, row.spread) for row in table.rows if row.source == "measured"}
        )

    @property
    def scale(self) -> float:
        """What stated uncertainties are multiplied with: at least 1."""
        return self._fitted.scale

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        """Seconds of each key, and their relative deviation; NaN where nothing is known."""
        seconds, spread = np.full(len(keys), np.nan), np.full(len(keys), np.nan)
        source = np.full(len(keys), MISSING, dtype=np.int8)
        unknown = []
        for place, key in enumerate(keys):
            if key in self._rows:
                seconds[place], spread[place] = self._rows[key]
                source[place] = SOURCES.index("measured")
            else:
                unknown.append(place)
        if unknown and self._rows:
            where = np.array(unknown)
            mean, deviation, known = self._fitted.predict([keys[place] for place in unknown])
            where = where[known]
            seconds[where] = np.exp(mean)[known]
            spread[where] = deviation[known]
            source[where] = SOURCES.index("fitted")
        return Timings(seconds, spread, source)

    @cached_property
    def _fitted(self) -> _Fitted:
        return _fit(self._rows)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The process given its rows.

    Attributes:
        numbers, shapes: Of the rows.
        mean: Of the logarithms of their times.
        factor: Lower Cholesky factor of their covariance.
        weights: The covariance's inverse times the logarithms less the mean.
        scale: Of the uncertainty.
    """

    numbers: _Numbers
    shapes: _Shapes
    mean: float
    factor: Floats
    weights: Floats
    scale: float

    def predict(self, keys: Sequence[OpKey]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Logarithms of seconds, their standard deviations, and which are of a type with rows."""
        shapes = self.numbers.shapes(keys)
        mean, variance = np.empty(len(keys)), np.empty(len(keys))
        for part in _spans(len(keys), max(1, _AT_ONCE // len(self.weights))):
            chunk = shapes.take(np.arange(part.start, part.stop))
            covariance = _covariance(chunk, self.shapes)
            mean[part] = self.mean + covariance @ self.weights
            explained = solve_triangular(self.factor, covariance.T, lower=True)
            variance[part] = _variances(chunk) - np.square(explained).sum(axis=0)
        deviation = self.scale * np.sqrt(np.maximum(variance, 0.0) + _NOISE**2)
        return mean, deviation, np.isin(shapes.type, self.shapes.type)


def _fit(rows: Mapping[OpKey, tuple[float, float]]) -> _Fitted:
    numbers = _Numbers()
    shapes = numbers.shapes(list(rows))
    seconds, spread = np.array(list(rows.values())).T
    logarithms = np.log(seconds)
    noise = _NOISE**2 + np.clip(np.nan_to_num(spread), 0.0, _NOISIEST) ** 2
    covariance = _covariance(shapes, shapes)
    covariance[np.diag_indices_from(covariance)] += noise
    # columns first, as LAPACK wants it: the factor takes the covariance's place
    factor: Floats = cholesky(covariance.T, lower=True, overwrite_a=True, check_finite=False)
    mean = float(logarithms.mean())
    weights: Floats = cho_solve((factor, True), logarithms - mean)
    # What each row is off when it is predicted from the others, in standard deviations. A normal
    # one has a median of 0.6745; the median is not moved by single rows that were disturbed.
    off = np.abs(weights) / np.sqrt(_inverse_diagonal(factor))
    scale = max(1.0, float(np.median(off)) / 0.6745)
    return _Fitted(numbers, shapes, mean, factor, weights, scale)


def _inverse_diagonal(factor: Floats) -> Floats:
    """Of what a lower Cholesky factor is of, some columns of the factor's inverse at a time."""
    size = len(factor)
    found = np.empty(size)
    for part in _spans(size, max(1, _AT_ONCE // size)):
        columns = np.zeros((size - part.start, part.stop - part.start))
        np.fill_diagonal(columns, 1.0)
        own = factor[part.start :, part.start :]  # above, the columns are zero
        columns = solve_triangular(own, columns, lower=True, overwrite_b=True, check_finite=False)
        found[part] = np.square(columns).sum(axis=0)
    return found


def _spans(count: int, size: int) -> Iterator[slice]:
    """So many numbers, some at a time."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))
