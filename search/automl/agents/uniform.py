"""The baseline: one ratio for every channel group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from automl.errors import InfeasibleError
from automl.policy import Policy
from automl.problem import Problem, Trial
from automl.space import Vectors, channel_counts
from automl.units import QUANTITIES, format_quantity, round_up

#: Ratios that are tried, from one down.
RATIOS: Final = np.arange(1000, 0, -1) / 1000


class UniformAgent:
    """The largest common ratio of kept channels that fits the budget; all blocks stay.

    Every group keeps the option nearest to the ratio. All ratios are priced, so that prices which
    rise where channels go are no trap. The resolution is lowered only where no ratio fits.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self._problem = problem
        self._asked = False

    def ask(self, count: int) -> list[Policy]:
        """The one policy, once.

        Raises:
            InfeasibleError: If no common ratio meets the budget.
        """
        if self._asked or count < 1:
            return []
        vector = self._find()
        self._asked = True
        return [self._problem.space.decode(vector)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing: there is one proposal."""

    def _find(self) -> Vectors:
        problem = self._problem
        candidates = _at_ratios(problem)
        resolution = problem.space.of_kind("resolution")
        sizes = range(problem.space.sizes[resolution[0]])[::-1] if resolution else (0,)
        least = np.full(len(QUANTITIES), np.inf)
        for size in sizes:
            candidates[:, list(resolution)] = size
            costs = problem.costs.price(candidates)
            fitting = np.flatnonzero(problem.budget.allows_all(costs))
            if len(fitting):
                chosen: Vectors = candidates[fitting[0]]
                return chosen
            least = np.fmin(least, costs.min(axis=0))
        columns = [QUANTITIES.index(limit.quantity) for limit in problem.budget.limits]
        reached = ", ".join(
            format_quantity(limit.quantity, round_up(float(value)))
            for limit, value in zip(problem.budget.limits, least[columns], strict=True)
        )
        raise InfeasibleError(
            f"no common ratio meets the budget of {problem.budget}: the least is {reached}; "
            "an agent that leaves blocks out may reach it"
        )


def _at_ratios(problem: Problem) -> Vectors:
    """Vectors [ratios, variables] with every group at the option nearest to each ratio."""
    vectors = np.tile(problem.space.dense, (len(RATIOS), 1))
    for index, variable in enumerate(problem.space.variables):
        if variable.kind == "channels":
            counts = np.array(channel_counts(variable))
            apart = np.abs(counts[None, :] - RATIOS[:, None] * counts[-1])
            vectors[:, index] = apart.argmin(axis=1)
    return vectors
