"""Which weights of a matrix stay, and what those become that do.

Weights go in units of neighbouring columns: one weight, a row of a kernel's taps, a whole kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch

Tensor = torch.Tensor

#: How the units that go are found: by the squares of their weights; these times the metric's
#: diagonal; or by what is lost once the weights that stay compensate for them.
MAGNITUDE: Final = "magnitude"
OBD: Final = "obd"
OBS: Final = "obs"
SALIENCIES: Final = (OBS, OBD, MAGNITUDE)
#: Columns that are chosen from together while others are still corrected for those before them.
_BLOCK: Final = 64
#: Products up to which the weights that stay are solved for, row by row.
_SOLVED: Final = 3e10


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which units of a stretch of columns stay.

    Attributes:
        unit: Columns of a unit.
        block: Columns of a stretch, a multiple of the unit.
        stays: Of scores [runs, outputs, units] and the stretch's first column: as many truth
            values.
        length: Of longer stretches, each of which begins anew; 0 for the whole matrix.
    """

    unit: int
    block: int
    stays: Callable[[Tensor, int], Tensor]
    length: int = 0

    def stretches(self, columns: int) -> Iterator[tuple[int, int]]:
        """First and last column, the last left out."""
        length = self.length or columns
        for start in range(0, columns, length):
            for first in range(start, start + length, self.block):
                yield first, min(first + self.block, start + length)


def share(unit: int, columns: int, kept: int, saliency: str) -> Pattern:
    """So many units of a whole matrix.

    With `OBS` each stretch of columns keeps its share of them, chosen after it was corrected for
    those before it.

    Args:
        unit: Columns of one.
        columns: Of the matrix.
        kept: How many units stay.
        saliency: One of `SALIENCIES`.
    """
    block = unit * max(1, _BLOCK // unit) if saliency == OBS else columns

    def stays(scores: Tensor, first: int) -> Tensor:
        last = min(first + block, columns)
        count = _until(last, columns, kept) - _until(first, columns, kept)
        found = torch.zeros(scores.numel(), dtype=torch.bool)
        found[scores.flatten().topk(count).indices] = True
        return found.view(scores.shape)

    return Pattern(unit, block, stays)


def _until(column: int, columns: int, kept: int) -> int:
    return (2 * kept * column + columns) // (2 * columns)


def some_of(stay: int, of: int, length: int) -> Pattern:
    """So many of each few neighbouring columns, in each row.

    Args:
        stay: How many stay; all of fewer.
        of: Of how many.
        length: Of stretches of columns, each of which begins anew.
    """

    def stays(scores: Tensor, first: int) -> Tensor:
        found = torch.zeros(scores.shape, dtype=torch.bool)
        return found.scatter_(2, scores.topk(min(stay, scores.shape[2]), 2).indices, True)

    return Pattern(1, of, stays, length)


def masked(weights: Tensor, metric: Tensor | None, choice: Pattern, saliency: str) -> Tensor:
    """A matrix of which some units stay: [runs, outputs, columns].

    With `OBS` the others compensate for those that go: column by column as in SparseGPT (Frantar
    and Alistarh, 2023), then by least squares on what stays.

    Args:
        weights: [runs, outputs, columns].
        metric: [runs, columns, columns], positive in all directions; None for that of the weights.
        choice: Which units can go together.
        saliency: One of `SALIENCIES`.
    """
    if metric is None or saliency == MAGNITUDE:
        return weights * _static(weights.square(), choice)
    if saliency == OBD:
        return weights * _static(
            weights.square() * metric.diagonal(dim1=1, dim2=2)[:, None], choice
        )
    found, stays = _swept(weights, metric, choice)
    return _solved(weights, metric, found, stays)


def _static(scores: Tensor, choice: Pattern) -> Tensor:
    parts = []
    for first, last in choice.stretches(scores.shape[2]):
        units = scores[..., first:last].unflatten(2, (-1, choice.unit)).sum(3)
        parts.append(choice.stays(units, first).repeat_interleave(choice.unit, 2))
    return torch.cat(parts, 2)


def _swept(weights: Tensor, metric: Tensor, choice: Pattern) -> tuple[Tensor, Tensor]:
    """Columns from the first to the last; each correction is shared among those that follow."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(metric))
    root: Tensor = torch.linalg.cholesky(inverse, upper=True)
    left, stays = weights.clone(), torch.ones_like(weights, dtype=torch.bool)
    for first, last in choice.stretches(weights.shape[2]):
        block, roots = left[..., first:last], root[:, first:last, first:last]
        kept = choice.stays(_scores(block, roots, choice.unit), first)
        stays[..., first:last] = kept.repeat_interleave(choice.unit, 2)
        gone = torch.zeros_like(block)
        for column in range(last - first):
            going = block[..., column] * ~stays[..., first + column]
            gone[..., column] = going / roots[:, column, column, None]
            block -= gone[..., column, None] * roots[:, column, None]
        left[..., last:] -= gone @ root[:, first:last, last:]
    return left * stays, stays


def _scores(block: Tensor, roots: Tensor, unit: int) -> Tensor:
    """What is lost with each unit, once all behind it compensate for it."""
    if unit == 1:
        return (block / roots.diagonal(dim1=1, dim2=2)[:, None]).square()
    units = block.unflatten(2, (-1, unit))
    own = roots.unflatten(1, (-1, unit)).unflatten(3, (-1, unit))
    own = own.diagonal(dim1=1, dim2=3).movedim(-1, 1)  # [runs, units, unit, unit]
    wanted = units.permute(0, 2, 3, 1)  # [runs, units, unit, outputs]
    lost = torch.linalg.solve_triangular(own.transpose(2, 3), wanted, upper=False)
    sums: Tensor = lost.square().sum(2)
    return sums.transpose(1, 2)


def _solved(weights: Tensor, metric: Tensor, found: Tensor, stays: Tensor) -> Tensor:
    """The best weights at the places that stay; those that were found where that takes too long."""
    counts = stays.sum(2).double()
    if float((counts**3).sum()) / 3.0 > _SOLVED:
        return found
    best, wanted = torch.zeros_like(weights), weights @ metric
    for run, output in torch.cartesian_prod(*map(torch.arange, weights.shape[:2])).tolist():
        places = stays[run, output].nonzero().flatten()
        own = metric[run][places][:, places]
        root = torch.linalg.cholesky(own)
        right = wanted[run, output, places, None]
        best[run, output, places] = torch.cholesky_solve(right, root).flatten()
    return best
