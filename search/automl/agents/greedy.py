"""NetAdapt's descent, with measured sensitivity in place of its training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from automl.policy import Policy
from automl.solver import AdditiveProblem, Floats, neighbours, repair, solve
from automl.space import Vectors
from automl.study import Agent, Completed, Problem, Trial

#: First step, as a share of the dense network's excess, and how the steps shrink (NetAdapt: 2.5 %
#: of the resource, 0.96).
STEP: Final = 0.1
DECAY: Final = 0.96
#: Proposals scored in a step: those with the least sensitivity for what they save.
WIDTH: Final = 8


class GreedyAgent(Agent):
    """NetAdapt (Yang et al., 2018): lower one part per step until the budget is met.

    In each step every variable proposes its least lowering that takes the step's share off the
    excess. The proposals with the least sensitivity for what they save are completed to the budget
    by the same rule, so that each trial is feasible. The proposal whose completion scores best is
    kept. Where no sensitivity was measured, that of an option is the square of what it takes away.

    NetAdapt trains each proposal for a while and keeps the best. Its steps are smaller.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self._problem = problem
        allowed = tuple(np.arange(size) for size in problem.space.sizes)
        pairwise = problem.sensitivity.pairwise if problem.sensitivity else ()
        self._additive = AdditiveProblem(
            problem.costs, _sensitivity_of_options(problem), problem.budget, allowed, pairwise
        )
        self._current: Vectors = problem.space.dense
        self._step = STEP * self._additive.excess_of(self._current)
        self._scores: dict[bytes, float] = {}
        self._asked: set[bytes] = set()
        self._proposals: list[tuple[Vectors, Vectors]] = []  # lowered, and completed to the budget
        self._propose()

    def ask(self, count: int) -> list[Policy]:
        """Completed proposals of this step that were not asked for, or of the next step."""
        policies: list[Policy] = []
        while not (fresh := self._fresh()) and self._advance():
            pass
        for completed in fresh[:count]:
            self._asked.add(completed.tobytes())
            policies.append(self._problem.space.decode(completed))
        return policies

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep the scores; a trial without one counts as the worst."""
        for trial in trials:
            key = self._problem.space.encode(trial.policy).tobytes()
            self._scores[key] = trial.score if isinstance(trial, Completed) else -math.inf

    def _fresh(self) -> list[Vectors]:
        """Completed proposals that nobody was asked to score, each once."""
        completed = {vector.tobytes(): vector for _, vector in self._proposals}
        return [vector for key, vector in completed.items() if key not in self._asked]

    def _advance(self) -> bool:
        """Take the step whose completion scored best; False where there is none to take."""
        told = [pair for pair in self._proposals if pair[1].tobytes() in self._scores]
        if len(told) < len(self._proposals) or not told:
            return False
        # Proposals come with the least sensitivity for their saving first, which settles equal
        # scores.
        lowered, _ = max(told, key=lambda pair: self._scores[pair[1].tobytes()])
        self._current = lowered
        self._step *= DECAY
        self._propose()
        return bool(self._proposals)

    def _propose(self) -> None:
        """The step's proposals from where the descent is."""
        additive, current = self._additive, self._current
        excess = additive.excess_of(current)
        self._proposals = []
        if excess <= 0.0:
            if not self._asked:  # the dense network meets the budget
                self._proposals = [(current, current)]
            return
        lower = neighbours(current, additive.allowed)
        lower = lower[(lower < current).any(axis=1)]
        saved = excess - additive.budget.excess_all(additive.costs.price(lower))
        sensitivity = additive.sensitivities(lower) - additive.sensitivity_of(current)
        chosen = _least_lowering(current, lower, saved, min(self._step, excess))
        worth = sensitivity[chosen] / np.maximum(saved[chosen], 1e-12)
        for row in chosen[np.argsort(worth, kind="stable")].tolist():
            completed = repair(additive, lower[row])
            if additive.excess_of(completed) <= 0.0:
                lowered = self._problem.space.canonical(lower[row])
                self._proposals.append((lowered, completed))
            if len(self._proposals) == WIDTH:
                break
        if not self._proposals and not self._asked:
            # Raises where there is none.
            optimum = solve(
                additive.costs, additive.single, additive.budget, pairwise=additive.pairwise
            ).vector
            self._proposals = [(optimum, optimum)]


def _least_lowering(
    current: Vectors, lower: Vectors, saved: Floats, step: float
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Per variable, the row of its highest option that saves `step`, or of what saves most."""
    chosen: list[int] = []
    moved = (lower != current).argmax(axis=1)
    for variable in np.unique(moved).tolist():
        rows = np.flatnonzero(moved == variable)
        enough = rows[saved[rows] >= step]
        best = enough[-1] if len(enough) else rows[np.argmax(saved[rows])]
        if saved[best] > 0.0:
            chosen.append(int(best))
    return np.array(chosen, dtype=np.int64)


def _sensitivity_of_options(problem: Problem) -> tuple[Floats, ...]:
    if problem.sensitivity is not None:
        return problem.sensitivity.single
    return tuple((1.0 - np.arange(1, size + 1) / size) ** 2 for size in problem.space.sizes)
