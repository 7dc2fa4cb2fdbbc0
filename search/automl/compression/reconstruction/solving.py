"""One layer's weights by least squares, held to what they were by as much as rows held out say.

With many rows for each column least squares needs no hold. With few it fits their noise: a
classifier after pooling has one row an image. So a fifth of the images is held out, and weights
are found on the others. Where rows are few, stronger and stronger pulls are tried, each fifth held
out in turn, and the pull under which the held-out rows are off least is taken for all rows
together. A layer that no pull makes better on the held-out rows is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import torch

from automl.compression.moments import gram

Tensor = torch.Tensor
#: One image in so many is held out at a time.
_FOLDS: Final = 5
#: Rows for each column from which on the weakest pull is taken if it helps, and the held-out rows
#: are not needed to find the weights.
_MANY: Final = 10
#: Rows for each column below which all images are held out in turn, in layers of so many columns
#: at most; in narrower ones that costs nothing, however many rows there are.
_FEW: Final = 4
_FOLDED: Final = 1500
_NARROW: Final = 300
#: How much stronger each next pull is, and how many are tried.
_STRONGER: Final = 10.0
_PULLS: Final = 5


@dataclass(frozen=True, slots=True)
class LayerRows:
    """What a layer reads and is to compute at sampled places, image by image.

    Attributes:
        wide: [runs, rows, columns + 1], the last column ones.
        target: [rows, outputs of all runs].
        shortcut: What is added to the layer's outputs, of the target's shape; 0.0 for nothing.
        images: How many images the rows are of, equally many of each.
        rounds: More than one where a ReLU follows: each after the first counts what is rightly
            below zero no longer as an error.
    """

    wide: Tensor
    target: Tensor
    shortcut: Tensor | float
    images: int
    rounds: int

    def written(self, weights: Tensor) -> Tensor:
        """What weights [runs, columns + 1, outputs of a run] make of it, the shortcut added."""
        found = self.wide @ weights.to(self.wide.dtype)
        return found.transpose(0, 1).flatten(1) + self.shortcut

    def cross(self, aim: Tensor) -> Tensor:
        """Mean products of what is read and what is to be written to reach an aim, float64."""
        runs, rows, _ = self.wide.shape
        side = (aim - self.shortcut).view(rows, runs, -1).transpose(0, 1)
        return (self.wide.transpose(1, 2) @ side).double() / rows

    def below(self, found: Tensor) -> Tensor:
        """The target, below zero what was found there."""
        return torch.where(self.target > 0, self.target, found.clamp_max(0))

    def error(self, weights: Tensor) -> float:
        """Mean squared error of weights; past a ReLU, what is rightly below zero is none."""
        found = self.written(weights)
        gap = found - (self.below(found) if self.rounds > 1 else self.target)
        return float(gap.square().mean(dtype=torch.float64))

    def cut(self, first: int, end: int) -> LayerRows:
        """The rows between two."""
        return self._of(self.wide[:, first:end], lambda rows: rows[first:end])

    def without(self, first: int, end: int) -> LayerRows:
        """All rows but those between two."""
        if end == self.target.shape[0]:
            return self.cut(0, first)  # nothing is copied
        wide = torch.cat([self.wide[:, :first], self.wide[:, end:]], 1)
        return self._of(wide, lambda rows: torch.cat([rows[:first], rows[end:]]))

    def _of(self, wide: Tensor, choose: Callable[[Tensor], Tensor]) -> LayerRows:
        shortcut = self.shortcut
        shortcut = choose(shortcut) if isinstance(shortcut, Tensor) else shortcut
        return LayerRows(wide, choose(self.target), shortcut, self.images, self.rounds)


class Solver:
    """Finds one layer's weights.

    Args:
        rows: What the layer reads and aims at.
    """

    def __init__(self, rows: LayerRows) -> None:
        self._rows = rows
        count, images = rows.target.shape[0], rows.images
        each = 1 if images < _FOLDS else count // images  # of few images rows are held out
        self._ends = [count // each * fold // _FOLDS * each for fold in range(_FOLDS + 1)]
        self._sums: dict[int, Tensor] = {}

    @cached_property
    def moments(self) -> Tensor:
        """Mean second moments of all rows, float64 [runs, columns + 1, columns + 1]."""
        return self._mean(range(_FOLDS))

    def solve(self, before: Tensor, ridge: float) -> Tensor | None:
        """The layer's weights, or None where they had better stay as they were.

        Args:
            before: The weights before, float64 [runs, columns + 1, outputs of a run].
            ridge: The weakest pull towards them, relative to the mean second moment of the inputs.
        """
        last = _FOLDS - 1
        some = self._mean(range(last))
        if not self._ends[1] or not torch.isfinite(some).all():
            return None
        weakest = some.diagonal(dim1=1, dim2=2)[:, :-1].mean(1) * ridge
        weakest = weakest.clamp_min(1e-9).view(-1, 1, 1)
        rows_a_column = self._ends[last] / before.shape[1]
        if rows_a_column >= _MANY:
            found, held = self._without(last, before, weakest), self._fold(last)
            if found is not None and held.error(found) < held.error(before):
                return found
        columns = before.shape[1]
        in_turn = columns <= _NARROW or (rows_a_column < _FEW and columns <= _FOLDED)
        folds = range(_FOLDS) if in_turn else range(last, _FOLDS)
        pull = self._best_pull(folds, before, weakest)
        made = {fold: self._without(fold, before, pull) for fold in folds}
        if self._error(made) < self._error(dict.fromkeys(folds, before)):
            return _solved(self._rows, self.moments, before, pull)
        return None

    def _best_pull(self, folds: range, before: Tensor, weakest: Tensor) -> Tensor:
        """The pull under which held-out rows are off least.

        The weakest is tried first, until one is worse than one before it that helped. Each is
        judged by plain least squares: a ReLU is forgiven once the pull is known.
        """
        straight = Solver(replace(self._rows, rounds=1))
        straight._sums, best, least = self._sums, weakest, torch.inf
        unchanged = straight._error(dict.fromkeys(folds, before))
        for step in range(_PULLS):
            pull = weakest * _STRONGER**step
            off = straight._error({fold: straight._without(fold, before, pull) for fold in folds})
            if off < least:
                best, least = pull, off
            elif least < unchanged:
                break
        return best

    def _error(self, found: Mapping[int, Tensor | None]) -> float:
        """Summed error on the rows of folds, each under weights of its own."""
        total = 0.0
        for fold, weights in found.items():
            held = self._fold(fold)
            each = torch.inf if weights is None else held.error(weights)
            total += each * held.target.shape[0]
        return total

    def _without(self, fold: int, before: Tensor, pull: Tensor) -> Tensor | None:
        """Weights found without the rows of a fold."""
        others = [each for each in range(_FOLDS) if each != fold]
        rows = self._rows.without(self._ends[fold], self._ends[fold + 1])
        return _solved(rows, self._mean(others), before, pull)

    def _fold(self, fold: int) -> LayerRows:
        return self._rows.cut(self._ends[fold], self._ends[fold + 1])

    def _mean(self, folds: Iterable[int]) -> Tensor:
        """Mean second moments of the rows of some folds."""
        total, count = torch.zeros(1, 1, 1, dtype=torch.float64), 0
        for fold in folds:
            if fold not in self._sums:
                self._sums[fold] = gram(self._fold(fold).wide).double()
            total = total + self._sums[fold]
            count += self._ends[fold + 1] - self._ends[fold]
        return total / count


def _solved(rows: LayerRows, moments: Tensor, before: Tensor, pull: Tensor) -> Tensor | None:
    """Weights of least error on rows under a pull; None where moments have no factor."""
    held = moments.clone()
    held.diagonal(dim1=1, dim2=2).add_(pull.squeeze(2))
    factor, failed = torch.linalg.cholesky_ex(held)
    if failed.any():
        return None
    solved = torch.cholesky_solve(rows.cross(rows.target) + pull * before, factor)
    for _ in range(rows.rounds - 1):
        aim = rows.below(rows.written(solved))
        solved = torch.cholesky_solve(rows.cross(aim) + pull * before, factor)
    return solved
