"""Optuna's samplers on a hard budget: every trial is feasible by construction.

A sampler that draws options freely has most of its trials over the budget, and soft constraints
leave it to learn that. Here a sampler draws a place in [0, 1] per variable, from its cheapest to
its dense option; 0.5 is the warm start's. The draw is projected to a policy: it is scaled towards a
very cheap policy until it fits, or towards the dense one while it fits, and then raised one option
at a time. The sampler sees the score of that policy. So any draw has a score, the objective stays a
function of the draw, and no trial is rejected.

The study in here is the sampler's memory alone. The search's own study keeps what is to be kept.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from automl.policy import Policy
from automl.solver import Floats, Projection, solve
from automl.space import Vectors, kind_of
from automl.study import Agent, Completed, Problem, Trial, quiet_optuna
from automl.units import Quantity

Integers = NDArray[np.int64]
#: Draws in a row that lead to nothing new after which the sampler counts as finished.
_REPEATED = 12
#: The variable that decides whether a draw is raised to the budget, beside one a choice.
_FILL = "fill"


class OptunaAgent(Agent):
    """A sampler of Optuna on draws that are projected onto the budget.

    Args:
        problem: What to search.
        seed: Of the sampler.
        warm_start: Draw the optimum of additive sensitivity first, where the problem has a
            sensitivity.
    """

    @quiet_optuna()
    def __init__(self, problem: Problem, seed: int = 0, *, warm_start: bool = True) -> None:
        self._problem = problem
        self._projection = Projection(problem)
        self._study = optuna.create_study(
            directions=self.directions(), sampler=self.sampler(seed % 2**32)
        )
        #: Where in [0, 1] each variable's middle draw falls.
        self._middle: Floats = np.full(len(problem.space.sizes), 0.5)
        self._ranked = ranked_options(problem)
        if warm_start and problem.sensitivity is not None:
            known = problem.sensitivity
            found = solve(problem.costs, known.single, problem.budget, pairwise=known.pairwise)
            first = found.vector.copy()
            for variable, options in self._ranked.items():
                first[variable] = np.flatnonzero(options == first[variable])[0]
            self._middle = (first + 0.5) / np.array(problem.space.sizes)
            middle = {f"{index}": 0.5 for index in range(len(first))}
            self._study.enqueue_trial({**middle, _FILL: 1.0})
        self._running: list[tuple[int, bytes]] = []
        self._values: dict[bytes, list[float] | None] = {}

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """The sampler of draws."""

    def directions(self) -> list[StudyDirection]:
        """One per objective."""
        return [StudyDirection.MAXIMIZE]

    def values(self, trial: Completed) -> list[float]:
        """Objectives of a scored trial."""
        return [trial.score]

    def fills(self, draw: optuna.trial.Trial) -> bool:
        """Whether what is drawn below the budget is raised to it."""
        return True

    @quiet_optuna()
    def ask(self, count: int) -> list[Policy]:
        """New policies; draws that lead to a known one are answered at once with its score."""
        policies: list[Policy] = []
        asked = {key for _, key in self._running}
        repeated = 0
        while len(policies) < count and repeated < _REPEATED:
            draw = self._study.ask()
            vector = self._projection.evenly(self._drawn(draw), fill=self.fills(draw))
            key = vector.tobytes()
            if key in self._values:
                self._answer(draw.number, key)
            elif key in asked:
                self._study.tell(draw.number, state=TrialState.FAIL)
            else:
                asked.add(key)
                self._running.append((draw.number, key))
                policies.append(self._problem.space.decode(vector))
                repeated = -1
            repeated += 1
        return policies

    @quiet_optuna()
    def tell(self, trials: Sequence[Trial]) -> None:
        """Answer the draws with the scores of the policies that they led to."""
        for trial in trials:
            key = self._problem.space.encode(trial.policy).tobytes()
            scored = self.values(trial) if isinstance(trial, Completed) else None
            self._values[key] = scored
            for number, running in self._running:
                if running == key:
                    self._answer(number, key)
            self._running = [pair for pair in self._running if pair[1] != key]

    def _drawn(self, draw: optuna.trial.Trial) -> Vectors:
        """The draw as a vector: 0 is the cheapest option, 0.5 the warm start's, 1 the dense one."""
        sizes = np.array(self._problem.space.sizes)
        draws = np.array([draw.suggest_float(f"{i}", 0.0, 1.0) for i in range(len(sizes))])
        middle = self._middle
        below, above = 2.0 * draws * middle, middle + (2.0 * draws - 1.0) * (1.0 - middle)
        places = np.where(draws < 0.5, below, above)
        vector: Vectors = np.minimum(places * sizes, sizes - 1).astype(np.int16)
        for variable, options in self._ranked.items():
            vector[variable] = options[vector[variable]]
        return vector

    def _answer(self, number: int, key: bytes) -> None:
        values = self._values[key]
        if values is None:
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, values)


def ranked_options(problem: Problem) -> dict[int, Integers]:
    """Per variable whose kind has no order: its options by their sensitivity, the dense one last.

    A sampler that draws along a line needs neighbours that are alike.
    """
    if problem.sensitivity is None:
        return {}
    return {
        position: np.argsort(-problem.sensitivity.single[position], kind="stable")
        for position, variable in enumerate(problem.space.variables)
        if not kind_of(variable.kind).ordered
    }


class TpeAgent(OptunaAgent):
    """Tree-structured Parzen estimator (Bergstra et al., 2011), with Optuna's settings."""

    def sampler(self, seed: int) -> BaseSampler:
        """TPE that takes running trials for bad ones, so that a batch spreads."""
        return TPESampler(seed=seed)


class CmaEsAgent(OptunaAgent):
    """CMA-ES (Hansen and Ostermeier, 2001), its first mean at the warm start."""

    def sampler(self, seed: int) -> BaseSampler:
        """CMA-ES from the middle of the draws, with steps of a sixth of their range."""
        return CmaEsSampler(seed=seed)


class GpAgent(OptunaAgent):
    """Gaussian process with expected improvement (Optuna's own, after Snoek et al., 2012)."""

    def sampler(self, seed: int) -> BaseSampler:
        """A Matern kernel and log expected improvement, Optuna's settings."""
        return GPSampler(seed=seed)


class NsgaAgent(OptunaAgent):
    """NSGA-II (Deb et al., 2002): score against cost, a front within the budget in one study."""

    full_scores = True  # what is worse than the best but cheaper belongs to the front

    def __init__(self, problem: Problem, seed: int = 0, *, warm_start: bool = True) -> None:
        limits = problem.budget.limits
        self._quantity: Quantity = limits[0].quantity if limits else "macs"
        super().__init__(problem, seed, warm_start=warm_start)

    def sampler(self, seed: int) -> BaseSampler:
        """A small population: searches have tens to hundreds of trials."""
        return NSGAIISampler(seed=seed, population_size=16)

    def fills(self, draw: optuna.trial.Trial) -> bool:
        """A variable of its own decides, so that the front has points at the budget and below."""
        return draw.suggest_float(_FILL, 0.0, 1.0) >= 0.5

    def directions(self) -> list[StudyDirection]:
        """Score up, cost down."""
        return [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]

    def values(self, trial: Completed) -> list[float]:
        """Score, and the first limited quantity."""
        return [trial.score, trial.cost.value(self._quantity)]
