"""Smooth surfaces over depth, width and resolution: of accuracy from few points, of cost from many.

Points are [points, dimensions] in [0, 1]; 1 is the dense network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from automl.solver.bucket_elimination import Floats

_SWEEPS: Final = 60
_STARTS: Final = 4
#: Pull of the accuracy's coefficients to zero, in shares of the scores' variance.
_RIDGE: Final = 3e-3


@dataclass(frozen=True, slots=True)
class LowRank:
    """A sum of products of one polynomial a dimension.

    Attributes:
        coefficients: [rank, dimensions, degree + 1], of ascending powers.
        mean, spread: Of the scores that it was fitted to.
    """

    coefficients: Floats
    mean: float
    spread: float

    def __call__(self, points: Floats) -> Floats:
        """Predicted scores [points]."""
        total: Floats = self._factors(points).prod(axis=2).sum(axis=1)
        return self.mean + self.spread * total

    def gradient(self, point: Floats) -> Floats:
        """Derivatives at a point [dimensions]."""
        values = self._factors(point[None])[0]
        degree = self.coefficients.shape[2] - 1
        powers = np.arange(1, degree + 1) * point[:, None] ** np.arange(degree)
        slopes = (self.coefficients[:, :, 1:] * powers).sum(axis=2)
        result = np.zeros(len(point))
        for dimension in range(len(point)):
            others = np.delete(values, dimension, axis=1).prod(axis=1)
            result[dimension] = self.spread * float(slopes[:, dimension] @ others)
        return result

    def _factors(self, points: Floats) -> Floats:
        """Each polynomial's value [points, rank, dimensions]."""
        powers = points[:, :, None] ** np.arange(self.coefficients.shape[2])
        values: Floats = np.einsum("pdk,qdk->pqd", powers, self.coefficients)
        return values


def fit_low_rank(
    points: Floats, scores: Floats, generator: np.random.Generator, *, rank: int, degree: int
) -> LowRank:
    """Least squares, one dimension's polynomials at a time, from a few random starts.

    Args:
        points: [points, dimensions].
        scores: [points].
        generator: Of the starts.
        rank: Products in the sum.
        degree: Of the polynomials.
    """
    mean, spread = float(scores.mean()), float(scores.std()) or 1.0
    goal = (scores - mean) / spread
    best, least = np.zeros((rank, points.shape[1], degree + 1)), np.inf
    for _ in range(_STARTS):
        found = LowRank(generator.normal(0.0, 0.5, best.shape), 0.0, 1.0)
        for sweep in range(_SWEEPS * points.shape[1]):
            found = _refitted(found, points, goal, sweep % points.shape[1])
        penalty = _RIDGE * len(goal) * float((found.coefficients**2).sum())
        loss = float(((found(points) - goal) ** 2).sum()) + penalty
        if loss < least:
            best, least = found.coefficients, loss
    return LowRank(best, mean, spread)


def _refitted(surface: LowRank, points: Floats, goal: Floats, dimension: int) -> LowRank:
    rank, _, terms = surface.coefficients.shape
    values = surface._factors(points)  # of our own kind
    others = np.delete(values, dimension, axis=2).prod(axis=2)
    powers = points[:, dimension, None] ** np.arange(terms)
    design = (others[:, :, None] * powers[:, None, :]).reshape(len(points), rank * terms)
    normal = design.T @ design + _RIDGE * len(goal) * np.eye(rank * terms)
    coefficients = surface.coefficients.copy()
    coefficients[:, dimension] = np.linalg.solve(normal, design.T @ goal).reshape(rank, terms)
    return LowRank(coefficients, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class LogCost:
    """The logarithm of one cost as a quadratic of the point.

    Attributes:
        coefficients: [1 + dimensions + pairs], of `_quadratic`'s columns.
    """

    coefficients: Floats

    def __call__(self, points: Floats) -> Floats:
        """Logarithms of the cost [points]."""
        found: Floats = _quadratic(points) @ self.coefficients
        return found

    def gradient(self, point: Floats) -> Floats:
        """Derivatives of the logarithm [dimensions]: times the point, the elasticities."""
        dimensions = len(point)
        first, second = np.triu_indices(dimensions)
        result = self.coefficients[1 : 1 + dimensions].copy()
        for i, j, weight in zip(first, second, self.coefficients[1 + dimensions :], strict=True):
            result[i] += weight * point[j]
            result[j] += weight * point[i]
        return result

    def elasticities(self, point: Floats) -> Floats:
        """Percent of cost for a percent of each dimension, where d * w^2 * r^2 has 1, 2, 2."""
        return point * self.gradient(point)


def fit_log_cost(points: Floats, costs: Floats) -> LogCost:
    """Least squares over priced points."""
    logarithms: Floats = np.log(np.maximum(costs, 1e-300))
    coefficients = np.linalg.lstsq(_quadratic(points), logarithms, rcond=None)[0]
    return LogCost(coefficients.astype(np.float64))


def _quadratic(points: Floats) -> Floats:
    first, second = np.triu_indices(points.shape[1])
    return np.column_stack([np.ones(len(points)), points, points[:, first] * points[:, second]])
