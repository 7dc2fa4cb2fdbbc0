"""Small changes to one policy, each priced in full: into the budget, and then to less harm."""

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
    """Least additive harm within a budget.

    Attributes:
        costs: Prices of the space.
        harm: Per variable, per option.
        budget: Limits.
        allowed: Options that may be used, per variable, ascending.
        joint: Harm of pairs of variables beside that of each.
    """

    costs: CostModel
    harm: tuple[Floats, ...]
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

    def harms(self, vectors: Vectors) -> Floats:
        """Additive harm of vectors [policies, variables]; what a left-out block holds does none."""
        total = np.zeros(len(vectors))
        columns = self.costs.space.canonical(vectors).T
        for harm, column in zip(self.harm, columns, strict=True):
            total += harm[column]
        for (one, other), harm in self.pairwise:
            total += harm[columns[one], columns[other]]
        return total

    def harm_of(self, vector: Vectors) -> float:
        """Additive harm of one vector."""
        return float(self.harms(vector[None])[0])

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
    """Changes that do the least harm per excess taken away, until within the budget.

    Each round makes one change a variable, in the order of their worth, as far as needed. The
    answer is still over the budget where no change brings it nearer.
    """
    excess = problem.excess_of(vector)
    while excess > 0.0:
        changed = neighbours(vector, problem.allowed)
        saved = excess - problem.budget.excess_all(problem.costs.price(changed))
        harm = np.maximum(problem.harms(changed) - problem.harm_of(vector), 0.0)
        nearer = np.flatnonzero(saved > 0.0)
        if not len(nearer):
            break
        order = nearer[np.lexsort((-saved[nearer], harm[nearer] / saved[nearer]))]
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
    """Changes of one variable or two that lower the harm and stay within the budget."""
    for _ in range(_ROUNDS):
        changed = neighbours(vector, problem.allowed)
        better = _best_within(problem, changed, problem.harm_of(vector))
        if better is None:
            better = _best_within(
                problem, _pairs(problem, vector, changed), problem.harm_of(vector)
            )
        if better is None:
            break
        vector = better
    return problem.costs.space.canonical(vector)


def _best_within(problem: AdditiveProblem, vectors: Vectors, harm: float) -> Vectors | None:
    """The vector of least harm, below `harm`, that the budget allows."""
    harms = problem.harms(vectors)
    worth = np.flatnonzero(harms < harm - 1e-12 * max(1.0, abs(harm)))
    worth = worth[problem.budget.allows_all(problem.costs.price(vectors[worth]))]
    return vectors[worth[np.argmin(harms[worth])]] if len(worth) else None


def _pairs(problem: AdditiveProblem, vector: Vectors, changed: Vectors) -> Vectors:
    """One change that lowers the harm together with one that lowers the cost."""
    harm = problem.harms(changed) - problem.harm_of(vector)
    costs = problem.costs.price(np.concatenate([vector[None], changed]))[:, problem.columns]
    cost: Floats = ((costs[1:] - costs[0]) / problem.limits).max(axis=1)
    gains = _steepest(-harm, cost, harm < 0.0)
    saves = _steepest(-cost, harm, cost < 0.0)
    first = np.repeat(changed[gains], len(saves), axis=0)
    second = np.tile(changed[saves], (len(gains), 1))
    return np.where(second != vector, second, first)


def _steepest(gain: Floats, price: Floats, usable: NDArray[np.bool_]) -> Integers:
    """Indices of the changes with the most gain for their price."""
    found = np.flatnonzero(usable)
    ratio = gain[found] / np.maximum(price[found], 1e-12)
    return found[np.argsort(-ratio, kind="stable")[:_PAIRED]]
