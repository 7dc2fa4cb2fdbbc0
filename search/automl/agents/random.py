"""The other baseline: random policies, each within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from automl.policy import Policy
from automl.solver import Projection
from automl.study import Agent, Problem, Trial

#: Draws without a new policy after which the space counts as exhausted.
_REPEATED: Final = 200


class RandomAgent(Agent):
    """Random search (Li and Talwalkar, "Random search and reproducibility for NAS", 2019).

    Each policy is drawn option by option. It is lowered at random until it fits the budget, and
    raised at random while it does. So no trial is wasted on what is over budget or far below it.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self._problem = problem
        self._generator = np.random.default_rng(seed)
        self._projection = Projection(problem)
        self._proposed: set[bytes] = set()

    def ask(self, count: int) -> list[Policy]:
        """New random policies; fewer when many draws in a row found nothing new."""
        space = self._problem.space
        policies: list[Policy] = []
        repeated = 0
        while len(policies) < count and repeated < _REPEATED:
            drawn = space.random(1, self._generator)[0]
            vector = self._projection.randomly(drawn, self._generator)
            repeated += 1
            if vector.tobytes() not in self._proposed:
                self._proposed.add(vector.tobytes())
                policies.append(space.decode(vector))
                repeated = 0
        return policies

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing: random search does not learn."""
