"""Weights as indices into a short list of shared values: k-means in one dimension, layer by layer.

Source: Han et al. 2016 (Deep Compression), section 3. Differs: no training of the shared values;
squared errors are weighted by the moments' diagonal, as in Choi et al. 2017 (who weight by the
Hessian's); the starting point is an exact solution on a coarse grid, not linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from automl.compression.quantization.qparams import column_importance
from automl.errors import QuantizationError

Tensor = torch.Tensor
#: Cells of which the exact solution is made; layers with no more distinct values are solved
#: exactly.
_CELLS: Final = 512
#: Sizes up to which the exact solution is a start; beyond, the density's is as good.
_EXACT: Final = 64
#: Bins of the density: few, as a ragged one puts too many entries into the thick of it.
_BINS: Final = 128
_ROUNDS: Final = 300


@dataclass(frozen=True, slots=True)
class Codebook:
    """A layer's shared values and which weight has which.

    Attributes:
        entries: [at most 2^bits], ascending, float32.
        indices: uint8, of the weights' shape.
        bits: Of an index as it is stored.
    """

    entries: Tensor
    indices: Tensor
    bits: int

    def values(self) -> Tensor:
        """The weights, float32."""
        return self.entries[self.indices.long()]


def codebook(weights: Tensor, bits: int, *, moments: Tensor | None = None) -> Codebook:
    """The shared values of least weighted squared error, and each weight's nearest.

    Where a layer has no more distinct values than entries, all are kept and nothing is lost. Up to
    512 distinct values the result is exact; beyond it is where Lloyd's rounds end.

    Args:
        weights: [runs, outputs, columns].
        bits: 1 to 8.
        moments: Of the inputs, with the ones or without; None weighs all columns alike.

    Raises:
        QuantizationError: Weights that are not finite.
    """
    if not torch.isfinite(weights).all():
        raise QuantizationError("weights that are not finite cannot be quantised")
    importance = column_importance(weights, moments).expand_as(weights)
    entries = shared_values(weights, importance, 1 << bits)
    middles = (entries[1:].double() + entries[:-1].double()) / 2
    return Codebook(entries, torch.bucketize(weights.double(), middles).to(torch.uint8), bits)


def shared_values(numbers: Tensor, importance: Tensor, size: int) -> Tensor:
    """At most so many values of least weighted squared error for some numbers, ascending, float32.

    Args:
        numbers: Of any shape, finite; at least one.
        importance: Of each, of their shape, positive.
        size: How many values, at most.
    """
    points, order = numbers.double().flatten().sort(stable=True)
    points, masses = _distinct(points, importance.double().flatten()[order])
    return _kmeans(points, masses, size).float().unique() if len(points) > size else points.float()


def _distinct(points: Tensor, masses: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted points without repeats, and the mass of each."""
    unique, places = torch.unique_consecutive(points, return_inverse=True)
    return unique, torch.zeros_like(unique).index_add_(0, places, masses)


class _Sums:
    """Sums of mass, mass x value and mass x value^2 over any stretch of sorted points."""

    def __init__(self, points: Tensor, masses: Tensor) -> None:
        parts = torch.stack([masses, masses * points, masses * points * points])
        self._below = torch.nn.functional.pad(parts.cumsum(1), (1, 0))

    def between(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mass, first, second = (self._below[:, end] - self._below[:, start]).unbind(0)
        return mass, first, second

    def error(self, start: Tensor, end: Tensor) -> Tensor:
        """Squared error of a stretch about its own mean; 0 for one that is empty."""
        mass, first, second = self.between(start, end)
        return torch.where(mass > 0, second - first * first / mass, 0.0).clamp_min(0)


def _kmeans(points: Tensor, masses: Tensor, size: int) -> Tensor:
    """Means of at most `size` clusters; there are more points than that."""
    extent = points.abs().amax()
    scaled = points / extent  # so that squares neither overflow nor vanish
    sums = _Sums(scaled, masses)
    best, least = None, torch.inf
    starts = [_by_density(scaled, masses, size)]
    if size <= _EXACT or len(scaled) <= _CELLS:
        starts.append(_exact(sums, _cells(scaled, masses), size))
    for start in starts:
        means, error = _lloyd(scaled, sums, start)
        if best is None or error < least:
            best, least = means, error
    assert best is not None
    return best * extent


def _cells(points: Tensor, masses: Tensor) -> Tensor:
    """Ends of the cells that the exact solution is made of: ascending indices, from 0."""
    count = len(points)
    if count <= _CELLS:
        return torch.arange(count + 1)
    ends = _by_density(points, masses, _CELLS)
    places = torch.searchsorted(points, ends)
    distinct: Tensor = torch.cat([torch.tensor([0]), places, torch.tensor([count])]).unique()
    return distinct


def _by_density(points: Tensor, masses: Tensor, size: int) -> Tensor:
    """Values as dense as the cube root of the points' density (Panter & Dite 1951)."""
    edges = torch.linspace(float(points[0]), float(points[-1]), _BINS + 1, dtype=torch.float64)
    cell = torch.bucketize(points, edges[1:-1])
    density = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, cell, masses)
    share = (density ** (1 / 3)).cumsum(0)
    share = torch.cat([torch.zeros(1, dtype=torch.float64), share / share[-1]])
    wanted = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    place = torch.searchsorted(share, wanted).clamp(1, _BINS)
    before, after = share[place - 1], share[place]
    within = ((wanted - before) / (after - before).clamp_min(1e-300)).clamp(0, 1)
    return edges[place - 1] + within * (edges[place] - edges[place - 1])


def _exact(sums: _Sums, cells: Tensor, size: int) -> Tensor:
    """Means of the best `size` clusters whose ends are ends of cells, by dynamic programming."""
    count = len(cells) - 1
    cost = sums.error(cells.unsqueeze(1), cells.unsqueeze(0))
    cost = cost + torch.full_like(cost, torch.inf).tril(-1)
    least, cuts = cost[0], []
    for _ in range(min(size, count) - 1):  # least[j]: of the cells before j in one cluster more
        least, cut = (least.unsqueeze(1) + cost).min(0)
        cuts.append(cut)
    end, ends = count, [count]
    for cut in reversed(cuts):
        end = int(cut[end])
        ends.append(end)
    bounds = cells[torch.unique_consecutive(torch.tensor([0, *reversed(ends)]))]
    mass, first, _ = sums.between(bounds[:-1], bounds[1:])
    return first / mass


def _lloyd(points: Tensor, sums: _Sums, means: Tensor) -> tuple[Tensor, float]:
    """Assign and average until nothing moves; the means and the squared error."""
    count = torch.tensor([len(points)])
    bounds = torch.empty(0)
    for _ in range(_ROUNDS):
        middles = (means[1:] + means[:-1]) / 2
        inner = torch.searchsorted(points, middles)
        moved = torch.cat([torch.zeros(1, dtype=torch.long), inner, count])
        if torch.equal(moved, bounds):
            break
        bounds = moved
        mass, first, _ = sums.between(bounds[:-1], bounds[1:])
        means = torch.where(mass > 0, first / mass, means)
    return means, float(sums.error(bounds[:-1], bounds[1:]).sum())
