"""One layer's weights by least squares, held to what they were by as much as rows held out say.

With many rows for each column least squares needs no hold. With few it fits their noise: a
classifier after pooling has one row an image. So a fifth of the images is held out, and weights
are found on the others. Where rows are few, stronger and stronger pulls are tried, each fifth held
out in turn, and the pull under which the held-out rows are off least is taken for all rows
together. A layer that no pull makes better on the held-out rows is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Final

import torch

from automl.compression.moments import gram, with_ones

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


#: Numbers of a layer's outputs that are computed at once.
_AT_ONCE: Final = 1 << 22

#: From which row to which.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LayerRows:
    """What a layer reads and is to compute at sampled places, image by image.

    What is asked of some of the rows is computed from views, so many rows at a time.

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

    def cross(self, spans: Sequence[Span], found: Tensor | None = None) -> Tensor:
        """Products of what is read and what is to be written, summed over rows, float64.

        Args:
            spans: Of which rows.
            found: Weights; below zero the aim is what they make there. None aims at the target.
        """
        total = torch.zeros((), dtype=torch.float64)
        for some in self._blocks(spans):
            aim = some.target if found is None else some.below(some.written(found))
            count, runs = aim.shape[0], some.wide.shape[0]
            side = (aim - some.shortcut).view(count, runs, -1).transpose(0, 1)
            total = total + some.wide.transpose(1, 2) @ side
        return total

    def below(self, found: Tensor) -> Tensor:
        """The target, below zero what was found there."""
        return torch.where(self.target > 0, self.target, found.clamp_max(0))

    def error(self, weights: Tensor, span: Span) -> float:
        """Squared error of weights, summed over rows; past a ReLU, what is rightly below zero is
        none.
        """
        total = 0.0
        for some in self._blocks([span]):
            found = some.written(weights)
            gap = found - (some.below(found) if self.rounds > 1 else some.target)
            total += float(gap.square_().sum(dtype=torch.float64))
        return total

    def moments(self, span: Span) -> Tensor:
        """Second moments of what is read, summed over rows."""
        return gram(self.wide[:, slice(*span)])

    def _blocks(self, spans: Sequence[Span]) -> Iterator[LayerRows]:
        step = max(1, _AT_ONCE // max(1, self.target.shape[1]))
        for first, end in spans:
            for start in range(first, end, step):
                here = slice(start, min(start + step, end))
                shortcut = self.shortcut
                shortcut = shortcut[here] if isinstance(shortcut, Tensor) else shortcut
                wide, target = self.wide[:, here], self.target[here]
                yield LayerRows(wide, target, shortcut, self.images, self.rounds)


class Gathered:
    """What a layer reads, of the parts that came to it.

    Args:
        images: Of how many, each as many rows: they are written where they stay. None joins what
            the parts give.
    """

    def __init__(self, images: int | None) -> None:
        self._images = images
        self._parts: dict[int, Tensor] = {}
        self._wide = torch.empty(0)
        self.shortcut: Tensor | float = 0.0  #: the other operand's rows

    def rows(self) -> Tensor:
        """All rows, image by image, the last column ones: [runs, rows, columns + 1]."""
        if self._images is None:
            return torch.cat([self._parts[number] for number in sorted(self._parts)], 1)
        return self._wide

    def add(self, number: int, of: slice, rows: Tensor, shortcut: Tensor | float) -> None:
        """Take rows [n, runs, columns] of some images, and those of the addition's other operand.

        Args:
            number: Of the part that they are of.
            of: The part's images.
            rows: What the layer reads.
            shortcut: Rows of the other operand; 0.0 for none.
        """
        if self._images is None:
            self._parts[number] = with_ones(rows)
            return
        each = rows.shape[0] // (of.stop - of.start)
        count, here = self._images * each, slice(of.start * each, of.start * each + rows.shape[0])
        if not self._wide.numel():
            self._wide = rows.new_empty(rows.shape[1], count, rows.shape[2] + 1)
        self._wide[:, here, :-1] = rows.transpose(0, 1)
        self._wide[:, here, -1] = 1.0
        if isinstance(shortcut, Tensor):
            if not isinstance(self.shortcut, Tensor):
                self.shortcut = shortcut.new_empty(count, shortcut.shape[1])
            self.shortcut[here] = shortcut


class Solver:
    """Finds one layer's weights.

    Beside the rows there are two matrices of (columns + 1)^2 numbers at most, float64: moments, and
    their factor. In narrow layers, where each fifth is held out, there is one more for each. What
    is read times what is aimed at is summed once for all pulls.

    Args:
        rows: What the layer reads and aims at.
        thorough: Whether each fifth is held out in wide layers of few rows too; else the last
            alone, at a fifth of the cost.
    """

    def __init__(self, rows: LayerRows, *, thorough: bool = True) -> None:
        self.rows = rows  #: As given.
        self._thorough = thorough
        count, images, columns = rows.target.shape[0], rows.images, rows.wide.shape[2]
        each = 1 if images < _FOLDS else count // images  # of few images rows are held out
        ends = [count // each * fold // _FOLDS * each for fold in range(_FOLDS + 1)]
        self._folds: list[Span] = list(pairwise(ends))
        last = _FOLDS - 1
        self._rows_a_column = ends[last] / columns
        few = self._rows_a_column < _FEW and columns <= _FOLDED
        in_turn = columns <= _NARROW or (thorough and few)
        #: Folds whose moments are summed: each, where each is held out; else all but the last.
        self._groups = [[fold] for fold in range(_FOLDS)] if in_turn else [[*range(last)], [last]]
        self._held = range(_FOLDS) if in_turn else range(last, _FOLDS)
        self._sums: dict[int, Tensor] = {}
        self._crosses: dict[int, Tensor] = {}

    @property
    def spans(self) -> tuple[Span, Span]:
        """Rows that weights are found on, and those that are held out to judge them by."""
        return (self._folds[0][0], self._folds[-1][0]), self._folds[-1]

    @cached_property
    def moments(self) -> Tensor:
        """Mean second moments of all rows, float64 [runs, columns + 1, columns + 1]."""
        found = self._mean(None)
        self._sums.clear()
        return found

    def solve(self, before: Tensor, ridge: float) -> Tensor | None:
        """The layer's weights, or None where they had better stay as they were.

        Args:
            before: The weights before, float64 [runs, columns + 1, outputs of a run].
            ridge: The weakest pull towards them, relative to the mean second moment of the inputs.
        """
        last, rows = _FOLDS - 1, self.rows
        some = self._mean(last)
        if self._folds[0][0] == self._folds[0][1] or not torch.isfinite(some).all():
            return None
        weakest = some.diagonal(dim1=1, dim2=2)[:, :-1].mean(1) * ridge
        weakest = weakest.clamp_min(1e-9).view(-1, 1, 1)
        if self._rows_a_column >= _MANY:
            found, held = self._without(last, before, weakest, some), self._folds[last]
            if found is not None and rows.error(found, held) < rows.error(before, held):
                return found
        del some
        pull, helps = self._best_pull(before, weakest)
        if rows.rounds > 1:
            made = {fold: self._without(fold, before, pull) for fold in self._held}
            helps = self._error(made) < self._error(dict.fromkeys(self._held, before))
        return self._solved(None, self._mean(None), before, pull) if helps else None

    def _best_pull(self, before: Tensor, weakest: Tensor) -> tuple[Tensor, bool]:
        """The pull under which held-out rows are off least, and whether that is less than before.

        The weakest is tried first, until one is worse than one before it that helped. Each is
        judged by plain least squares: a ReLU is forgiven once the pull is known.
        """
        straight = Solver(replace(self.rows, rounds=1), thorough=self._thorough)
        straight._sums, straight._crosses = self._sums, self._crosses
        best, least = weakest, torch.inf
        unchanged = straight._error(dict.fromkeys(self._held, before))
        for step in range(_PULLS):
            pull = weakest * _STRONGER**step
            off = straight._error(
                {fold: straight._without(fold, before, pull) for fold in self._held}
            )
            if off < least:
                best, least = pull, off
            elif least < unchanged:
                break
        return best, least < unchanged

    def _error(self, found: Mapping[int, Tensor | None]) -> float:
        """Summed error on the rows of folds, each under weights of its own."""
        return sum(
            torch.inf if weights is None else self.rows.error(weights, self._folds[fold])
            for fold, weights in found.items()
        )

    def _without(
        self, fold: int, before: Tensor, pull: Tensor, mean: Tensor | None = None
    ) -> Tensor | None:
        """Weights found without the rows of a fold, whose `_mean` is used up where it is there."""
        return self._solved(fold, self._mean(fold) if mean is None else mean, before, pull)

    def _solved(
        self, without: int | None, moments: Tensor, before: Tensor, pull: Tensor
    ) -> Tensor | None:
        """Weights of least error on all rows but a fold's; None where moments have no factor.

        The factor takes the place of the moments.
        """
        moments.diagonal(dim1=1, dim2=2).add_(pull.squeeze(2))
        factor = moments.mT  # columns first, as LAPACK wants it: nothing is copied
        failed = torch.empty(moments.shape[0], dtype=torch.int32)
        torch.linalg.cholesky_ex(factor, out=(factor, failed))
        if failed.any():
            return None
        spans = [rows for fold, rows in enumerate(self._folds) if fold != without]
        count = sum(end - first for first, end in spans)
        solved = torch.cholesky_solve(self._cross(without) / count + pull * before, factor)
        for _ in range(self.rows.rounds - 1):
            cross = self.rows.cross(spans, solved) / count
            solved = torch.cholesky_solve(cross + pull * before, factor)
        return solved

    def _cross(self, without: int | None) -> Tensor:
        """Products with the target of all rows, or of those without a fold."""
        total = torch.zeros((), dtype=torch.float64)
        for group in self._groups:
            if without in group:
                continue
            if group[0] not in self._crosses:
                spans = [self._folds[fold] for fold in group]
                self._crosses[group[0]] = self.rows.cross(spans)
            total = total + self._crosses[group[0]]
        return total

    def _mean(self, without: int | None) -> Tensor:
        """Mean second moments of all rows, or of those without a fold: a matrix of its own."""
        groups = [group for group in self._groups if without not in group]
        total = self._sum(groups[0]).clone()
        for group in groups[1:]:
            total += self._sum(group)
        rows = [self._folds[fold] for group in groups for fold in group]
        return total.div_(max(1, sum(end - first for first, end in rows)))

    def _sum(self, group: list[int]) -> Tensor:
        """Second moments of the rows of some folds, summed."""
        if group[0] not in self._sums:
            total = self.rows.moments(self._folds[group[0]]).double()
            for fold in group[1:]:
                total += self.rows.moments(self._folds[fold])
            self._sums[group[0]] = total
        return self._sums[group[0]]
