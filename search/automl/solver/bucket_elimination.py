"""Sums of small tables, minimised exactly by eliminating one variable after the other.

Variables are introduced one at a time along an order that keeps the frontier (variables whose
tables are not all used up) small; what is left to come depends on the frontier's assignment alone.
This is bucket elimination along a path decomposition (Dechter, "Bucket elimination", 1999).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: A chain of frontiers with more assignments than this in all is too wide to be solved exactly.
WIDEST: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Factor:
    """A term of the sum.

    Attributes:
        scope: Variables that it depends on, without repetition.
        table: [options of each variable of the scope..., terms]: sensitivity first, then the costs.
    """

    scope: tuple[int, ...]
    table: Floats

    def restricted(self, useful: Sequence[Integers]) -> Factor:
        """The same of some options of each variable."""
        return Factor(self.scope, self.table[np.ix_(*(useful[each] for each in self.scope))])


def undominated(sizes: Sequence[int], parts: Sequence[Factor]) -> list[Integers]:
    """Per variable, the options that are best for some weights and options of the others.

    An option is left out where another has no greater term of any part, whatever the other
    variables take; of equal ones the last stays, which is the densest.
    """
    rows: list[list[Floats]] = [[] for _ in sizes]
    for part in parts:
        for axis, variable in enumerate(part.scope):
            rows[variable].append(np.moveaxis(part.table, axis, 0).reshape(sizes[variable], -1))
    return [
        _best_rows(np.concatenate(each, axis=1)) if each else np.arange(size)
        for size, each in zip(sizes, rows, strict=True)
    ]


def _best_rows(rows: Floats) -> Integers:
    """Indices of the rows that no other row is nowhere above; of equal ones the last."""
    kept = list[int]()
    for index in reversed(range(len(rows))):
        row, earlier, later = rows[index], rows[:index], rows[kept]
        better = (earlier <= row).all(axis=1) & (earlier < row).any(axis=1)
        if not better.any() and not (later <= row).all(axis=1).any():
            kept.append(index)
    return np.array(kept[::-1], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class EliminationStep:
    """One variable is introduced, and the variables that are settled with it are forgotten.

    Attributes:
        variable: The one introduced.
        gain: [terms, options, assignments of the frontier before]: the parts that are complete now.
        after: [options, assignments of the frontier before]: index of that of the frontier after.
        frontiers: Number of assignments of the frontier afterwards.
    """

    variable: int
    gain: Floats
    after: Integers
    frontiers: int


@dataclass(frozen=True, slots=True)
class Chain:
    """A sum of parts in the order in which it is minimised."""

    steps: tuple[EliminationStep, ...]
    terms: int

    def remaining(self, weights: Floats) -> list[Floats]:
        """Least weighted sum of all that comes after each step, per assignment of its frontier.

        Args:
            weights: [terms].

        Returns:
            One array more than there are steps: the first entry is the minimum of the whole sum,
            entry i + 1 belongs to the frontier after step i.
        """
        rest = np.zeros(1)
        tables = [rest]
        for step in reversed(self.steps):
            total = rest[step.after]
            for weight, gain in zip(weights.tolist(), step.gain, strict=True):
                if weight:
                    total += weight * gain
            rest = total.min(axis=0)
            tables.append(rest)
        return tables[::-1]

    def minimiser(self, weights: Floats) -> tuple[Integers, Floats]:
        """The assignment [variables] of least weighted sum, and its terms."""
        tables = self.remaining(weights)
        assignment = np.zeros(len(self.steps), dtype=np.int64)
        terms = np.zeros(self.terms)
        state = 0
        for step, rest in zip(self.steps, tables[1:], strict=True):
            gain, after = step.gain[:, :, state], step.after[:, state]
            option = int(np.argmin(weights @ gain + rest[after]))
            assignment[step.variable] = option
            terms += gain[:, option]
            state = int(after[option])
        return assignment, terms


def build_chain(sizes: Sequence[int], parts: Sequence[Factor], terms: int) -> Chain | None:
    """The chain of a sum over variables 0..len(sizes) - 1, or None where it would be too wide."""
    scopes = [part.scope for part in parts]
    # Neither way of ordering is narrower for all sums: the narrower of the two is taken.
    orders = [_order(sizes, scopes, settling) for settling in (True, False)]
    order = min(orders, key=lambda order: _entries(order, sizes, scopes))
    place, last = _places(order, scopes)
    due: list[list[Factor]] = [[] for _ in order]
    for part in parts:
        due[max(place[variable] for variable in part.scope)].append(part)
    steps: list[EliminationStep] = []
    frontier: tuple[int, ...] = ()
    entries = 0
    for position, variable in enumerate(order):
        scope = (variable, *frontier)
        shape = tuple(sizes[each] for each in scope)
        entries += math.prod(shape)
        if entries > WIDEST:
            return None
        kept = [i for i, each in enumerate(scope) if last[place[each]] > position]
        frontier = tuple(scope[i] for i in kept)
        steps.append(
            EliminationStep(
                variable,
                _gain(scope, shape, due[position], terms),
                _project(shape, kept),
                math.prod(shape[i] for i in kept),
            )
        )
    return Chain(tuple(steps), terms)


def _places(
    order: Sequence[int], scopes: Sequence[tuple[int, ...]]
) -> tuple[dict[int, int], list[int]]:
    """Each variable's place in the order, and where the last part of each place is complete."""
    place = {variable: position for position, variable in enumerate(order)}
    last = list(range(len(order)))
    for scope in scopes:
        complete = max(place[variable] for variable in scope)
        for variable in scope:
            last[place[variable]] = max(last[place[variable]], complete)
    return place, last


def _entries(order: Sequence[int], sizes: Sequence[int], scopes: Sequence[tuple[int, ...]]) -> int:
    """Assignments of all frontiers with the variables that are introduced to them."""
    place, last = _places(order, scopes)
    entries, frontier = 0, list[int]()
    for position, variable in enumerate(order):
        scope = [*frontier, variable]
        entries += math.prod(sizes[each] for each in scope)
        frontier = [each for each in scope if last[place[each]] > position]
    return entries


def _gain(
    scope: tuple[int, ...], shape: tuple[int, ...], parts: Sequence[Factor], terms: int
) -> Floats:
    total = np.zeros((terms, *shape))
    for part in parts:
        axes = [scope.index(variable) for variable in part.scope]
        order = np.argsort(axes)
        along = [1] * len(shape)
        for axis in axes:
            along[axis] = shape[axis]
        total += part.table.transpose(len(axes), *order).reshape(terms, *along)
    return total.reshape(terms, shape[0], -1)


def _project(shape: tuple[int, ...], kept: Sequence[int]) -> Integers:
    """[first axis, others]: for each assignment of `shape`, the index of that of the kept axes."""
    index = np.zeros(shape, dtype=np.int64)
    stride = 1
    for axis in reversed(kept):
        along = [1] * len(shape)
        along[axis] = shape[axis]
        index += stride * np.arange(shape[axis]).reshape(along)
        stride *= shape[axis]
    return index.reshape(shape[0], -1)


def _order(sizes: Sequence[int], scopes: Sequence[tuple[int, ...]], settling: bool) -> list[int]:
    """An order of introduction that keeps the frontier small, greedily.

    Args:
        sizes: Number of options per variable.
        scopes: Variables of each part.
        settling: Whether what is left of the frontier after a variable counts first, or its width
            until then. The former is better on grids, the latter where one variable is in nearly
            every part.
    """
    neighbours: list[set[int]] = [{variable} for variable in range(len(sizes))]
    for scope in scopes:
        for variable in scope:
            neighbours[variable].update(scope)
    weight = [math.log(size) for size in sizes]
    order: list[int] = []
    introduced: set[int] = set()
    frontier: set[int] = set()
    waiting = set(range(len(sizes)))  # not forgotten yet

    def frontiers(variable: int) -> tuple[set[int], set[int]]:
        """The frontier at its widest until the variable is forgotten, and after that."""
        known = introduced | neighbours[variable]
        widest = frontier | (known - introduced)
        return widest, {each for each in widest if not neighbours[each] <= known}

    def width(variable: int) -> tuple[float, float, int]:
        widest, after = frontiers(variable)
        left, most = sum(weight[each] for each in after), sum(weight[each] for each in widest)
        return (left, most, variable) if settling else (most, left, variable)

    while waiting:
        near = {each for settled in frontier for each in neighbours[settled]} & waiting
        chosen = min(near or waiting, key=width)
        widest, after = frontiers(chosen)
        fresh = widest - frontier
        order += [*sorted(fresh - {chosen}), *sorted(fresh & {chosen})]
        introduced |= fresh
        waiting -= widest - after
        frontier = after
    return order
