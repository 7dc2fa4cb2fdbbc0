"""Small changes to one policy, each priced in full: into the budget, then to less sensitivity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.cost import Budget, CostModel
from automl.solver.bucket_elimination import Floats, Integers
from automl.space import Pairwise, Vectors
from automl.units import QUANTITIES

#: Changes of each direction that are tried in pairs.
_PAIRED: Final = 48
_ROUNDS: Final = 200


@dataclass(frozen=True, slots=True)
class AdditiveProblem:
    """Least additive sensitivity within a budget.

    Attributes:
        costs: Prices of the space.
        single: Sensitivity per variable, per option.
        budget: Limits.
        allowed: Options that may be used, per variable, ascending.
        pairwise: Sensitivity of variables together beside that of each.
    """

    costs: CostModel
    single: tuple[Floats, ...]
    budget: Budget
    allowed: tuple[Integers, ...]
    pairwise: Pairwise = ()

    @property
    def columns(self) -> list[int]:
        """Columns of the limited quantities."""
        return [QUANTITIES.index(limit.quantity) for limit in self.budget.limits]

    @property
    def limits(self) -> Floats:
        """Their limits."""
        return np.array([limit.value for limit in self.budget.limits], dtype=np.float64)

    def sensitivities(self, vectors: Vectors) -> Floats:
        """Additive sensitivity of vectors [policies, variables]; none inside a left-out block."""
        total = np.zeros(len(vectors))
        columns = self.costs.space.canonical(vectors).T
        for sensitivity, column in zip(self.single, columns, strict=True):
            total += sensitivity[column]
        for together, sensitivity in self.pairwise:
            total += sensitivity[tuple(columns[each] for each in together)]
        return total

    def sensitivity_of(self, vector: Vectors) -> float:
        """Additive sensitivity of one vector."""
        return float(self.sensitivities(vector[None])[0])

    def excess_of(self, vector: Vectors) -> float:
        """How far one vector is over the budget, as `Budget.excess`."""
        return float(self.budget.excess_all(self.costs.price(vector[None]))[0])


def neighbours(vector: Vectors, allowed: tuple[Integers, ...]) -> Vectors:
    """All vectors [changes, variables] that differ in one variable."""
    pairs = [
        (variable, option)
        for variable, options in enumerate(allowed)
        for option in options.tolist()
        if option != vector[variable]
    ]
    changed = np.tile(vector, (len(pairs), 1))
    for row, (variable, option) in enumerate(pairs):
        changed[row, variable] = option
    return changed


def repair(problem: AdditiveProblem, vector: Vectors) -> Vectors:
    """Changes that do the least sensitivity per excess taken away, until within the budget.

    Each round makes one change a variable, in the order of their worth, as far as needed. The
    answer is still over the budget where no change brings it nearer.
    """
    excess = problem.excess_of(vector)
    while excess > 0.0:
        changed = neighbours(vector, problem.allowed)
        saved = excess - problem.budget.excess_all(problem.costs.price(changed))
        sensitivity = np.maximum(
            problem.sensitivities(changed) - problem.sensitivity_of(vector), 0.0
        )
        nearer = np.flatnonzero(saved > 0.0)
        if not len(nearer):
            break
        order = nearer[np.lexsort((-saved[nearer], sensitivity[nearer] / saved[nearer]))]
        path = _one_each(vector, changed[order])
        left = problem.budget.excess_all(problem.costs.price(path))
        chosen = int(np.argmin(left))
        vector, excess = path[chosen], float(left[chosen])
    return problem.costs.space.canonical(vector)


def _one_each(vector: Vectors, changed: Vectors) -> Vectors:
    """Vectors with the first change made, the first two, ...: one change a variable."""
    moved = (changed != vector).argmax(axis=1)
    _, first = np.unique(moved, return_index=True)
    path: list[Vectors] = []
    for row in np.sort(first).tolist():
        vector = vector.copy()
        vector[moved[row]] = changed[row, moved[row]]
        path.append(vector)
    return np.stack(path)


def improve(problem: AdditiveProblem, vector: Vectors) -> Vectors:
    """Changes of one variable or two that lower the sensitivity and stay within the budget."""
    for _ in range(_ROUNDS):
        changed = neighbours(vector, problem.allowed)
        better = _best_within(problem, changed, problem.sensitivity_of(vector))
        if better is None:
            better = _best_within(
                problem, _pairs(problem, vector, changed), problem.sensitivity_of(vector)
            )
        if better is None:
            break
        vector = better
    return problem.costs.space.canonical(vector)


def fill(problem: AdditiveProblem, vector: Vectors) -> Vectors:
    """Options nearer to the dense one while the budget has room, none of more sensitivity.

    A choice that lowers the sensitivity most for its share of the budget comes first. What is left
    unused then is less than any single choice takes.
    """
    dense = problem.costs.space.dense
    vector = problem.costs.space.canonical(vector)
    while True:
        changed = neighbours(vector, problem.allowed)
        nearer = (np.abs(dense - changed).sum(1) < np.abs(dense - vector).sum()).nonzero()[0]
        changed = problem.costs.space.canonical(changed[nearer])
        costs = problem.costs.price(np.concatenate([vector[None], changed]))
        taken = ((costs[1:] - costs[0])[:, problem.columns] / problem.limits).max(axis=1)
        gain = problem.sensitivity_of(vector) - problem.sensitivities(changed)
        fits = problem.budget.allows_all(costs[1:]) & (gain >= 0.0)
        if not fits.any():
            return vector
        worth = np.where(fits, gain / np.maximum(taken, 1e-12), -np.inf)
        vector = changed[int(np.argmax(worth))]


def _best_within(problem: AdditiveProblem, vectors: Vectors, sensitivity: float) -> Vectors | None:
    """The vector of least sensitivity, below `sensitivity`, that the budget allows."""
    sensitivities = problem.sensitivities(vectors)
    worth = np.flatnonzero(sensitivities < sensitivity - 1e-12 * max(1.0, abs(sensitivity)))
    worth = worth[problem.budget.allows_all(problem.costs.price(vectors[worth]))]
    return vectors[worth[np.argmin(sensitivities[worth])]] if len(worth) else None


def _pairs(problem: AdditiveProblem, vector: Vectors, changed: Vectors) -> Vectors:
    """One change that lowers the sensitivity together with one that lowers the cost."""
    sensitivity = problem.sensitivities(changed) - problem.sensitivity_of(vector)
    costs = problem.costs.price(np.concatenate([vector[None], changed]))[:, problem.columns]
    cost: Floats = ((costs[1:] - costs[0]) / problem.limits).max(axis=1)
    gains = _steepest(-sensitivity, cost, sensitivity < 0.0)
    saves = _steepest(-cost, sensitivity, cost < 0.0)
    first = np.repeat(changed[gains], len(saves), axis=0)
    second = np.tile(changed[saves], (len(gains), 1))
    return np.where(second != vector, second, first)


def _steepest(gain: Floats, price: Floats, usable: NDArray[np.bool_]) -> Integers:
    """Indices of the changes with the most gain for their price."""
    found = np.flatnonzero(usable)
    ratio = gain[found] / np.maximum(price[found], 1e-12)
    return found[np.argsort(-ratio, kind="stable")[:_PAIRED]]
