"""Choosing one variable after the other without ever leaving the budget.

Beside what is chosen goes a witness, a whole policy within the budget that agrees with every choice
made. An option may be chosen when a new witness can be found for it: the old one, or the cheapest
way to settle all that is left. That is exact where the cost is a sum of narrow factors: with one
limit by bucket elimination (Dechter, "Bucket elimination", 1999) from the last variable to the
first, with several by the solver. Elsewhere it is as good as the solver's search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from automl.cost import CostFactor
from automl.errors import InfeasibleError
from automl.solver.bucket_elimination import WIDEST, Floats, Integers
from automl.solver.exact import solve
from automl.space import Vectors
from automl.study import Problem
from automl.units import QUANTITIES


class Completion:
    """Witnesses for choices made in a given order.

    Args:
        problem: Space, prices and budget.
        order: Variables in the order in which they are chosen.
        held: The option of every variable that is not in the order.

    Raises:
        InfeasibleError: If no policy with the held options meets the budget.
    """

    def __init__(self, problem: Problem, order: Sequence[int], held: Mapping[int, int]) -> None:
        self._problem = problem
        self._order = tuple(order)
        self._held = dict(held)
        self.first: Vectors = self._solved(self._held)
        self._cheapest = self._build()

    def choose(self, witness: Vectors, position: int, options: Sequence[int]) -> Vectors:
        """The witness of the first of the options that the budget allows.

        Args:
            witness: A policy within the budget; what comes before `position` has been chosen.
            position: Of the variable to choose, in the order.
            options: All of its options, the most wanted first.
        """
        changed = np.tile(witness, (len(options), 1))
        changed[:, self._order[position]] = options
        fits = self._allows(changed).tolist()
        for row, within in zip(changed, fits, strict=True):
            found = row if within else self._completed(row, position)
            if found is not None:
                return found
        return witness  # its own option is one of them

    def _allows(self, vectors: Vectors) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return self._problem.budget.allows_all(self._problem.costs.price(vectors))

    def _completed(self, vector: Vectors, position: int) -> Vectors | None:
        """The vector with what comes after `position` settled within the budget, if it can be."""
        if self._cheapest:
            cheapest: Vectors = np.stack(
                [each.complete(vector, position) for each in self._cheapest]
            )
            within = self._allows(cheapest)
            if within.any():
                row: Vectors = cheapest[int(np.argmax(within))]
                return row
            if len(self._cheapest) == 1 or self._over_alone(cheapest):
                return None
        chosen = self._order[: position + 1]
        try:
            return self._solved({variable: int(vector[variable]) for variable in chosen})
        except InfeasibleError:
            return None

    def _over_alone(self, cheapest: Vectors) -> bool:
        """Whether some limit is exceeded by the policy that is cheapest in its quantity alone."""
        return any(
            row[QUANTITIES.index(limit.quantity)] > limit.value
            for row, limit in zip(
                self._problem.costs.price(cheapest), self._problem.budget.limits, strict=False
            )
        )

    def _solved(self, chosen: Mapping[int, int]) -> Vectors:
        free = [np.zeros(size) for size in self._problem.space.sizes]
        costs, budget = self._problem.costs, self._problem.budget
        # The solver's answer is canonical; what was chosen inside of a left-out block is put back.
        vector = solve(costs, free, budget, {**self._held, **chosen}).vector.copy()
        for variable, option in chosen.items():
            vector[variable] = option
        return vector

    def _build(self) -> tuple[_Cheapest, ...]:
        """The cheapest ways by each limit, and by their mean; none where that cannot be exact."""
        limits = self._problem.budget.limits
        factors, whole = self._problem.costs.factors()
        if not whole or not limits:
            return ()
        columns = [QUANTITIES.index(limit.quantity) for limit in limits]
        scale = 1.0 / np.array([limit.value for limit in limits])
        rows = [*np.eye(len(limits)), *([np.ones(len(limits))] if len(limits) > 1 else [])]
        found: list[_Cheapest] = []
        settled = self._problem.costs.settled(self._held)
        if len(settled) < len(self._problem.costs.auxiliary):
            return ()
        for row in rows:
            built = _eliminate(
                [
                    CostFactor(factor.scope, factor.table[..., columns] @ (row * scale))
                    for factor in factors
                ],
                self._problem.space.sizes,
                self._order,
                {**self._held, **settled},
            )
            if built is None:
                return ()
            found.append(built)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Cheapest:
    """The cheapest option of each variable, given those before it.

    Attributes:
        order: Variables.
        choices: Per variable: the earlier variables that it depends on, and the cheapest option for
            each assignment of them.
    """

    order: tuple[int, ...]
    choices: tuple[tuple[tuple[int, ...], Integers], ...]

    def complete(self, vector: Vectors, position: int) -> Vectors:
        """The vector with everything after `position` as cheap as can be."""
        result = vector.copy()
        for place in range(position + 1, len(self.order)):
            scope, table = self.choices[place]
            result[self.order[place]] = table[tuple(result[variable] for variable in scope)]
        return result


def _eliminate(
    factors: Sequence[CostFactor],
    sizes: Sequence[int],
    order: Sequence[int],
    held: Mapping[int, int],
) -> _Cheapest | None:
    """Minimise a sum of scalar factors variable by variable, the last first; None if too wide."""
    place = {variable: position for position, variable in enumerate(order)}
    buckets: list[list[tuple[tuple[int, ...], Floats]]] = [[] for _ in order]
    for factor in factors:
        scope, table = _without_held(factor, place, held)
        if scope:
            buckets[scope[-1]].append((scope, table))
    choices: list[tuple[tuple[int, ...], Integers]] = []
    entries = 0
    for position in reversed(range(len(order))):
        scope = tuple(sorted({position, *(each for part, _ in buckets[position] for each in part)}))
        shape = tuple(sizes[order[each]] for each in scope)
        entries += math.prod(shape)
        if entries > WIDEST:
            return None
        total = np.zeros(shape)
        for part, table in buckets[position]:
            along = [size if each in part else 1 for each, size in zip(scope, shape, strict=True)]
            total += table.reshape(along)
        before = scope[:-1]
        choices.append((tuple(order[each] for each in before), total.argmin(axis=-1)))
        if before:
            buckets[before[-1]].append((before, total.min(axis=-1)))
    return _Cheapest(tuple(order), tuple(reversed(choices)))


def _without_held(
    factor: CostFactor, place: Mapping[int, int], held: Mapping[int, int]
) -> tuple[tuple[int, ...], Floats]:
    """A factor's places in the order, ascending, and its table over them."""
    settled = tuple(held.get(variable, slice(None)) for variable in factor.scope)
    table: Floats = factor.table[settled]
    places = [place[variable] for variable in factor.scope if variable not in held]
    return tuple(sorted(places)), table.transpose(np.argsort(places))
