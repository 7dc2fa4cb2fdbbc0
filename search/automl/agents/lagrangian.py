"""The default: the exact optimum of measured, additive sensitivity, and some of its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from automl.errors import InfeasibleError, SpaceError
from automl.policy import Policy
from automl.solver import Floats, solve
from automl.space import Pairwise
from automl.study import Agent, Problem, Trial

#: Kinds whose sensitivity is weighed against that of the others first; further kinds follow.
WEIGHED: Final = ("channels", "block", "resolution", "bits")
#: By how much it is weighed.
FACTORS: Final = (0.5, 2.0)
#: Policies proposed at most.
PROPOSALS: Final = 8


@dataclass(frozen=True, slots=True)
class _Plan:
    """A problem to solve: the sensitivity of one kind weighed by a factor, some variables held."""

    kind: str | None = None
    factor: float = 1.0
    held: Mapping[int, int] = field(default_factory=dict)


class LagrangianAgent(Agent):
    """Least additive sensitivity within the budget.

    Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers", 1988.

    The sensitivity of each choice was measured when it was made alone, as in SPDY (Frantar and
    Alistarh, 2022, section 3), but on the network's logits and not layer by layer. Sums of it are
    fair among choices of one kind, and less so between kinds. So the agent also proposes the optima
    with each kind's sensitivity halved and doubled, and the best at each resolution. The trials
    tell which was right. What is proposed is always within the budget.

    Raises:
        SpaceError: If the problem comes without a sensitivity.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        if problem.sensitivity is None:
            raise SpaceError(
                "lagrangian needs the sensitivity of each choice, which this problem lacks",
                lacks=("sensitivity",),
            )
        self._problem = problem
        self._sensitivity = problem.sensitivity
        self._plans = _plans(problem)
        self._solved = 0
        self._proposed: list[bytes] = []

    def ask(self, count: int) -> list[Policy]:
        """The next optima that were not proposed yet, none when there are no more."""
        problem, policies = self._problem, list[Policy]()
        while (
            len(policies) < count
            and self._solved < len(self._plans)
            and len(self._proposed) < PROPOSALS
        ):
            plan = self._plans[self._solved]
            self._solved += 1
            single, pairwise = self._weighed(plan)
            try:
                vector = solve(problem.costs, single, problem.budget, plan.held, pairwise).vector
            except InfeasibleError:
                if not plan.held:
                    raise
                continue  # this resolution cannot meet the budget, others can
            if vector.tobytes() not in self._proposed:
                self._proposed.append(vector.tobytes())
                policies.append(problem.space.decode(vector))
        return policies

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing: what is proposed does not depend on scores."""

    def _weighed(self, plan: _Plan) -> tuple[list[Floats], Pairwise]:
        """The sensitivity of each choice and of pairs, a kind's by the plan's factor."""
        variables = self._problem.space.variables
        weights = [plan.factor if each.kind == plan.kind else 1.0 for each in variables]
        single = [
            each * weight for each, weight in zip(self._sensitivity.single, weights, strict=True)
        ]
        pairwise = [  # what two choices do together is between them
            ((one, other), each * float(np.sqrt(weights[one] * weights[other])))
            for (one, other), each in self._sensitivity.pairwise
        ]
        return single, tuple(pairwise)


def _plans(problem: Problem) -> list[_Plan]:
    """The plain problem first, then weighed kinds, then each resolution."""
    space = problem.space
    kinds = [kind for kind in dict.fromkeys((*WEIGHED, *space.kinds)) if kind in space.kinds]
    plans = [_Plan()]
    if len(kinds) > 1:
        plans += [_Plan(kind, factor) for kind in kinds for factor in FACTORS]
    for variable in space.of_kind("resolution"):
        plans += [
            _Plan(held={variable: int(option)}) for option in np.arange(space.sizes[variable])[::-1]
        ]
    return plans
