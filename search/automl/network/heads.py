"""Attention: which channels belong to which head, found where values are multiplied by values.

A view lays the channels of a value out in heads and the channels of each, a grid. A batched product
says which of the two they are: its batch is the heads, what it sums over pairs the channels of
queries with those of keys. What is left out of a grid is whole heads (rows) and whole places within
all heads (columns), so that what stays is a grid again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from automl.network.labels import ATTENTION, SPLIT, compact, constant, varies
from automl.network.union_find import NONE, UnionFind, core

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class HeadGrid:
    """Channels in heads.

    Attributes:
        cells: Labels [heads, channels of each].
        rows: A label for each head.
        columns: A label for each place within all heads.
    """

    cells: Tensor
    rows: Tensor
    columns: Tensor


@dataclass(frozen=True, slots=True)
class ProductLines:
    """Labels along what a product of two values depends on; None where no channel decides it.

    Attributes:
        heads: Along the batch.
        inner: Along what is summed over.
        outer: Along what the second operand gives the output.
        places: Along what the first operand gives the output.
    """

    heads: Tensor | None
    inner: Tensor | None
    outer: Tensor | None
    places: Tensor | None


@dataclass(frozen=True, slots=True)
class _Operand:
    """What the labels of an operand [heads, left, right] say: rows, and one line of channels."""

    labels: Tensor
    rows: Tensor | None = None
    left: Tensor | None = None
    right: Tensor | None = None


class Heads:
    """The grids of a recorded pass.

    Args:
        union: Of its labels.
    """

    def __init__(self, union: UnionFind) -> None:
        self.union = union
        #: Channels that are multiplied with others, [heads, channels of each] on both sides.
        self.paired: list[tuple[Tensor, Tensor]] = []
        self._grids: dict[tuple[object, ...], HeadGrid] = {}
        self._views: list[Tensor] = []
        self._alike: list[tuple[Tensor, Tensor]] = []
        self._parted: list[tuple[Tensor, int]] = []
        self._cells: dict[int, tuple[int, int]] = {}
        self._lines: set[int] | None = None  # classes of heads and of places, once settled

    @property
    def cells(self) -> Mapping[int, tuple[int, int]]:
        """Classes of channels -> labels of their head and of their place within it, settled."""
        return self._cells

    def product(self, left: Tensor, right: Tensor) -> tuple[Tensor, ProductLines]:
        """Labels of a batched product, and the lines that its work depends on.

        Args:
            left: Labels of the first operand [batch, places, inner].
            right: Those of the second [batch, inner, outer].
        """
        one, other = self._operand(left), self._operand(right)
        if one.rows is not None and other.rows is not None:
            self.union.join(one.rows, other.rows, ATTENTION)
        rows = other.rows if one.rows is None else one.rows
        inner = self._summed(one, other)
        places, outer = one.left, other.right
        if places is not None and outer is not None:
            self.union.freeze(places, ATTENTION)
            self.union.freeze(outer, ATTENTION)
            places = outer = None
        shape = (left.shape[0], left.shape[1], right.shape[2])
        if places is not None:
            found = self._laid(one, rows, places, 1)
        elif outer is not None:
            found = self._laid(other, rows, outer, 2)
        else:
            found = constant((1, 1, 1)) if rows is None else rows.view(-1, 1, 1)
        lines = ProductLines(rows, inner, outer, places)
        return compact(found.expand(shape)), lines

    def grid(self, cells: Tensor) -> HeadGrid:
        """The grid of these channels [heads, channels of each]; the same heads may come again."""
        unique, inverse = torch.unique(cells, dim=0, return_inverse=True)
        key = (tuple(unique.shape), *unique.flatten().tolist())
        if key not in self._grids:
            rows, columns = (self.union.fresh(extent) for extent in unique.shape)
            self._grids[key] = HeadGrid(unique, rows, columns)
        known = self._grids[key]
        return HeadGrid(cells, known.rows[inverse], known.columns)

    def view(self, labels: Tensor) -> None:
        """A line of channels was laid out in several dimensions, a grid if a product says so."""
        self._views.append(core(labels))

    def alike(self, one: Tensor, other: Tensor) -> None:
        """Two parts of a value lose the same: the same channels, or the same heads and places."""
        self._alike.append((one, other))

    def part(self, labels: Tensor, dim: int) -> None:
        """Of a view the parts along a dimension lose channels of their own."""
        self._parted.append((core(labels), dim))

    def settle(self) -> None:
        """All is recorded: heads and places are made one where they share channels.

        Views whose dimensions are not heads lose the same channels from each run.
        """
        self._close()
        for labels in self._views:
            self._split(labels)
        parts = {
            label: (view, number)
            for view, (labels, dim) in enumerate(self._parted)
            for number, part in enumerate(labels.unbind(dim))
            for label in part.flatten().tolist()
        }
        for one, other in self._alike:
            if not _are_parts(one, other, parts):
                self._join(one, other)
        self._close()
        self.union.settle()

    def units(self, root: int) -> tuple[int, ...]:
        """Classes of what a class of channels goes with: its head and its place, or itself."""
        cell = self._cells.get(root)
        return (root,) if cell is None else tuple(map(self.union.root, cell))

    def has(self, line: Tensor) -> bool:
        """Whether any of these channels, heads or places is of a grid."""
        if self._lines is None:
            self._lines = {self.union.root(each) for pair in self._cells.values() for each in pair}
        roots = self.union.roots(line).tolist()
        return any(root in self._cells or root in self._lines for root in roots)

    def slices(self, labels: Tensor, dim: int) -> Tensor | None:
        """One label for each index along a dimension, where what is there goes together."""
        if not varies(labels, dim):
            return None
        rows = core(labels).movedim(dim, 0).reshape(labels.size(dim), -1)
        parts = [self._unit(row) for row in rows.tolist()]
        return torch.tensor(parts) if any(parts) else None

    def _unit(self, labels: list[int]) -> int:
        """The class of channels, of heads or of places that all of these labels belong to."""
        roots = {self.union.root(label) for label in labels}
        if len(roots) == 1:
            return roots.pop()
        cells = [self._cells.get(root, (NONE, NONE)) for root in roots]
        for which in (0, 1):
            lines = {self.union.root(cell[which]) for cell in cells}
            if len(lines) == 1:
                return lines.pop()
        return NONE

    def _operand(self, labels: Tensor) -> _Operand:
        dims = [dim for dim in range(3) if varies(labels, dim)]
        small = core(labels)
        if len(dims) == 3 or dims == [1, 2]:
            self.union.freeze(labels, ATTENTION)
            return _Operand(labels)
        if len(dims) == 2:
            grid = self.grid(small.reshape(small.shape[0], -1))
            line = grid.columns
            return _Operand(labels, grid.rows, *((line, None) if dims[1] == 1 else (None, line)))
        line = small.flatten()
        return _Operand(labels, *(line if dims == [dim] else None for dim in range(3)))

    def _summed(self, one: _Operand, other: _Operand) -> Tensor | None:
        """The line that a product sums over; channels that meet fixed ones stay."""
        if one.right is not None and other.left is not None:
            self.union.join(one.right, other.left, ATTENTION)
            cells = (core(each.labels).flatten(1) for each in (one, other))
            left, right = cells if one.rows is not None else (each.view(1, -1) for each in cells)
            self.paired.append((left, right.expand(left.shape)))
            return one.right
        for line in (one.right, other.left):
            if line is not None:
                self.union.freeze(line, ATTENTION)
        return None

    def _laid(self, operand: _Operand, rows: Tensor | None, columns: Tensor, dim: int) -> Tensor:
        """Labels of an output that has rows along its batch and columns along a dimension."""
        shape = [1, 1, 1]
        shape[dim] = len(columns)
        if rows is None or operand.rows is not None:
            small = core(operand.labels)
            return small.reshape(small.shape[0], *shape[1:])
        unique, inverse = torch.unique(rows, return_inverse=True)
        made = self.union.fresh(len(unique) * len(columns)).view(len(unique), -1)
        self._grids["made", int(made[0, 0])] = HeadGrid(made, unique, columns)
        return made[inverse].view(len(rows), *shape[1:])

    def _split(self, labels: Tensor) -> None:
        dims = [dim for dim in range(labels.dim()) if labels.size(dim) > 1]
        parted = [
            dim
            for other, dim in self._parted
            if other.shape == labels.shape and torch.equal(other, labels)
        ]
        if parted and parted[0] == dims[0]:  # heads of queries may be others than those of values
            for part in labels.unbind(parted[0]):
                self._split(part)
            return
        dims = [dim for dim in dims if dim not in parted]
        runs = [dim for dim in dims if not self._is_heads(labels.movedim(dim, 0))]
        for dim in runs[:-1]:
            first, *rest = labels.split(1, dim)
            for run in rest:
                self._join(first, run)

    def _join(self, one: Tensor, other: Tensor) -> None:
        """What is at equal places of two values goes together, in heads the heads and places."""
        cells = [
            [self._cells.get(root, (NONE, NONE)) for root in self.union.roots(core(each)).tolist()]
            for each in (one, other)
        ]
        if any((NONE, NONE) in each for each in cells) or core(one).shape != core(other).shape:
            self.union.join(one, other, SPLIT)
            return
        for which in (0, 1):
            line, with_ = (torch.tensor([cell[which] for cell in each]) for each in cells)
            self.union.join(line, with_, SPLIT)

    def _is_heads(self, slices: Tensor) -> bool:
        """Whether each slice is of one head."""
        for part in slices.flatten(1).tolist():
            cells = {self._cells.get(self.union.root(label), (NONE, NONE))[0] for label in part}
            rows = set(map(self.union.root, cells))
            if len(rows) > 1 or rows == {NONE}:
                return False
        return True

    def _close(self) -> None:
        self._cells.clear()
        self._lines = None
        for grid in self._grids.values():
            roots = self.union.roots(grid.cells).reshape(grid.cells.shape)
            for (row, column), root in np.ndenumerate(roots):
                lines = int(grid.rows[row]), int(grid.columns[column])
                why = self.union.unprunable(int(root))
                known = lines if root == NONE else self._cells.setdefault(int(root), lines)
                for label, before in zip(lines, known, strict=True):
                    if label != before:
                        self.union.join(torch.tensor([label]), torch.tensor([before]), SPLIT)
                    if why is not None:
                        self.union.freeze(torch.tensor([label]), why)


def _are_parts(one: Tensor, other: Tensor, parts: Mapping[int, tuple[int, int]]) -> bool:
    """Whether two values are parts of one view; each label's view, and its part of that."""
    left, right = (
        {parts.get(label) for label in core(each).flatten().tolist()} for each in (one, other)
    )
    if len(left) != 1 or len(right) != 1:
        return False
    first, second = left.pop(), right.pop()
    return first is not None and second is not None and first[0] == second[0]


def product_labels(
    heads: Heads, op: str, labels: Any, output: Any
) -> tuple[Any, tuple[ProductLines, ...]] | None:
    """Labels of a product of two values, and what its work depends on; None of other operations.

    Args:
        heads: Of the pass.
        op: The operation's name.
        labels: Its arguments, tensors as their labels.
        output: What it gave.
    """
    if op == "bmm":
        found, lines = heads.product(*labels[:2])
        return found, (lines,)
    return _attention(heads, labels, output) if "scaled_dot_product" in op else None


def _attention(heads: Heads, args: Any, output: Any) -> tuple[Any, tuple[ProductLines, ...]]:
    query, key, value = (labels.reshape(-1, *labels.shape[-2:]) for labels in args[:3])
    batch = query.shape[0]
    key, value = (
        each.repeat_interleave(batch // each.shape[0], 0) if each.shape[0] < batch else each
        for each in (key, value)
    )
    scores, first = heads.product(compact(query), compact(key).transpose(1, 2))
    found, second = heads.product(scores, compact(value))
    written = output[0] if isinstance(output, tuple) else output
    labels = compact(found.reshape(written.shape))
    return ((labels,) if isinstance(output, tuple) else labels), (first, second)
