"""Any vector brought into the budget, so that a sampler never proposes what is over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.solver.bucket_elimination import Integers
from automl.solver.exact import solve
from automl.solver.local_search import neighbours
from automl.space import Vectors
from automl.study import Problem
from automl.units import QUANTITIES

_ROUNDS: Final = 200


class Projection:
    """Projects vectors onto the budget of a problem.

    The way leads towards an anchor, a policy that is as cheap as single changes make it, so its end
    is always within the budget.

    Raises:
        InfeasibleError: If no policy meets the budget.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._space = problem.space
        self.anchor = _anchor(problem)

    def randomly(self, vector: Vectors, generator: np.random.Generator) -> Vectors:
        """Lower random variables towards the anchor until it fits; raise others while it does."""
        moves = np.repeat(np.arange(len(vector)), np.abs(vector - self.anchor))
        path = _path(vector, self.anchor, generator.permutation(moves))
        return self._raised(self._first_within(path), self._space.dense, generator.permutation)

    def evenly(self, vector: Vectors, *, fill: bool = True) -> Vectors:
        """Scale the vector towards the anchor until it fits, then raise it while it does.

        Args:
            vector: Any vector of the space.
            fill: Raise it to what the budget allows; without, no further than it was.
        """
        shares = np.linspace(0.0, 1.0, 65)[:, None]
        start, dense = vector.astype(np.float64), self._space.dense
        down = np.rint(start + shares * (self.anchor - start)).astype(np.int16)
        within = self._raised(self._first_within(down), vector, _as_they_are)
        if not fill:
            return within
        # As far towards the dense network as each variable was drawn, before anything beyond.
        up = np.rint(start + shares * (dense - start)).astype(np.int16)
        fitting = self._allows(up)
        most = up[np.flatnonzero(fitting)[-1]] if fitting[0] else within
        return self._raised(most, dense, _as_they_are)

    def _first_within(self, path: Vectors) -> Vectors:
        """The first vector of [steps, variables] that the budget allows; the last one does."""
        first: Vectors = path[int(np.argmax(self._allows(path)))]
        return first

    def _allows(self, vectors: Vectors) -> NDArray[np.bool_]:
        return self._problem.budget.allows_all(self._problem.costs.price(vectors))

    def _raised(
        self, vector: Vectors, goal: Vectors, order: Callable[[Integers], Integers]
    ) -> Vectors:
        """Steps of one option towards `goal`, as many as fit."""
        while True:
            apart = np.flatnonzero(vector != goal)
            alone = vector[None].repeat(len(apart), axis=0)
            alone[np.arange(len(apart)), apart] += np.sign(goal - vector)[apart]
            fitting = apart[self._allows(alone)]
            if not len(fitting):
                return self._space.canonical(vector)
            path = _path(vector, goal, order(fitting))
            # The first step fits by itself, and so does every step before the first that does not.
            broken = np.flatnonzero(~self._allows(path[1:]))
            vector = path[int(broken[0]) if len(broken) else -1]


def _path(start: Vectors, goal: Vectors, moves: Integers) -> Vectors:
    """Vectors [moves + 1, variables]: one more variable moved one option towards `goal` in each."""
    steps = np.zeros((len(moves) + 1, len(start)), dtype=np.int16)
    steps[np.arange(1, len(steps)), moves] = np.sign(goal - start)[moves]
    path: Vectors = start + steps.cumsum(axis=0, dtype=np.int16)
    return path


def _as_they_are(moves: Integers) -> Integers:
    return moves


def _anchor(problem: Problem) -> Vectors:
    """A policy far inside the budget where there is one, else one that just meets it."""
    columns = [QUANTITIES.index(limit.quantity) for limit in problem.budget.limits]
    limits = np.array([limit.value for limit in problem.budget.limits])
    allowed = tuple(np.arange(size) for size in problem.space.sizes)
    vector = np.zeros(len(allowed), dtype=np.int16)
    for _ in range(_ROUNDS):
        changed = np.concatenate([vector[None], neighbours(vector, allowed)])
        worst = (problem.costs.price(changed)[:, columns] / limits).max(axis=1, initial=0.0)
        least = int(np.argmin(worst))
        if least == 0:
            break
        vector = changed[least]
    if problem.budget.allows_all(problem.costs.price(vector[None]))[0]:
        return vector
    zeros = [np.zeros(size) for size in problem.space.sizes]
    return solve(problem.costs, zeros, problem.budget).vector
