"""A budget of time held on this machine's clock: predictions are off by their known error."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from automl.cost import Budget
from automl.documents import read_text
from automl.errors import InfeasibleError, StudyError
from automl.files import write_whole
from automl.pipeline.context import SearchContext
from automl.pipeline.networks import timed_onnx
from automl.pipeline.pricing import PricedNetwork, measure_here
from automl.pipeline.requests import SearchRequest
from automl.policy import Policy
from automl.solver import solve
from automl.study import Completed, StudyResult
from automl.units import BudgetText, parse_budget

#: In the run folder: by what the limit of time was multiplied before the study that is stored.
FILE: Final = "clock.txt"
_KEPT_BYTES: Final = 64  # of the factor that is written there
#: A policy that is over its budget by more, or under it by more, is not the last.
OVER, UNDER = 0.02, 0.05
#: Most studies of one search after its first.
ROUNDS: Final = 2
#: How long a policy is timed for beside the dense network.
_SECONDS: Final = 4.0


@dataclass(frozen=True, slots=True)
class Clocked:
    """What the clock says of a network within a budget.

    Attributes:
        text: The limit of time that it is nearest to, as written.
        ratio: Its time over the most that this limit allows.
    """

    text: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A study and its best trial, priced by measured rows.

    Attributes:
        context: With the prices by which the trial is within the budget.
        result: The study.
        best: The trial.
        held: The budget that the study went by.
        notes: What the user should know of its budget.
    """

    context: SearchContext
    result: StudyResult
    best: Completed
    held: Budget
    notes: tuple[str, ...] = ()


def clocked(budget: Sequence[str], measured: Mapping[str, float]) -> Clocked | None:
    """How much of a budget's time a network takes; None where no seconds are limited or measured.

    Args:
        budget: As written; a share is one of the dense latency on the same clock.
        measured: Seconds of the "dense" and the "compressed" network; empty where not measured.
    """
    if "compressed" not in measured:
        return None
    limits = [(text, parse_budget(text)) for text in budget]
    found = [
        Clocked(text, measured["compressed"] / _most(limit, measured["dense"]))
        for text, limit in limits
        if limit.quantity == "latency" and limit.unit == "seconds"
    ]
    return max(found, key=lambda each: each.ratio, default=None)


def over_on_the_clock(budget: Sequence[str], measured: Mapping[str, float]) -> tuple[str, ...]:
    """What to say when the prediction was within the budget and the clock is not."""
    found = clocked(budget, measured)
    if found is None or found.ratio <= 1.0:
        return ()
    return (
        f"measured, it is {100 * (found.ratio - 1):.1f} % over the budget of {found.text}: "
        "the prediction was off by that; ask for so much less",
    )


def time_policy(network: PricedNetwork, policy: Policy, threads: int) -> dict[str, float]:
    """Seconds of the "dense" and of a "compressed" network of a policy's shapes, interleaved."""
    traced, header = network.traced, network.table.header
    models = {
        "dense": timed_onnx(traced, Policy(), header),
        "compressed": timed_onnx(traced, policy, header),
    }
    return measure_here(models, threads, seconds=_SECONDS)


class ClockRounds:
    """The studies of one search: each goes by a limit of time that the clock corrected.

    Args:
        request: Who searches; where it resumes, its folder says which study it had come to.
        budget: In absolute terms, as asked.

    Attributes:
        held: The budget of the study that runs now.
        factor: By what its limit of time was multiplied.
    """

    def __init__(self, request: SearchRequest, budget: Budget) -> None:
        self._request = request
        self._began: float | None = None
        self._time = request.seconds
        self._left = ROUNDS
        self._within: Outcome | None = None
        self._timed: dict[Policy, Clocked | None] = {}
        self.factor = _kept_factor(request.out) if request.resume else 1.0
        self.held = _tightened(budget, self.factor)

    @property
    def request(self) -> SearchRequest:
        """The request with the time of the study that runs now; time counts from here on."""
        if self._began is None:
            self._began = time.monotonic()
        return replace(self._request, time=self._time)

    def begin(self, network: PricedNetwork, policy: Policy) -> bool:
        """Correct the limit before the first study, by what the clock says of a policy.

        Args:
            network: As priced; nothing is timed where it does not run on this machine.
            policy: The one of least sensitivity within the limit: most studies end near it.

        Returns:
            Whether the limit is another now.
        """
        limit = self._limit()
        if not network.here or limit is None:
            return False
        filled = network.costs.cost(policy).latency / limit
        found = self._clocked(network, policy, filled)
        if found is None or _holds(found.ratio, filled):
            return False
        return self._correct(network, filled / found.ratio)

    def settled(self, outcome: Outcome) -> Outcome | None:
        """What the search ends with; None where a study within the corrected limit is to follow.

        Where the clock cannot be met, it is the last that it does not call over its budget, else
        the outcome itself.
        """
        network, best = outcome.context.network, outcome.best
        limit = self._limit()
        if not network.here or limit is None:
            return outcome
        filled = best.cost.latency / limit
        found = self._clocked(network, best.policy, filled)
        if found is None or _holds(found.ratio, filled):
            return outcome
        if found.ratio <= 1 + OVER:
            self._within = outcome
        none_left = not self._left or self._seconds_left() <= 0
        if none_left or not self._correct(network, filled / found.ratio):
            return self._within or outcome
        self._left -= 1
        self._time = None if self._request.seconds is None else self._seconds_left()
        return None

    def _limit(self) -> float | None:
        return next((one.value for one in self.held.limits if one.quantity == "latency"), None)

    def _clocked(self, network: PricedNetwork, policy: Policy, filled: float) -> Clocked | None:
        """What the clock says; where that costs another study it is asked twice.

        What runs beside does not slow floats and integers alike: by medians, two timings of the
        same networks, seconds apart, differed by up to 6 %. Each network's quicker time counts.
        """
        if policy not in self._timed:
            times = self._time_once(network, policy)
            found = clocked(self._request.budget, times)
            if found is not None and not _holds(found.ratio, filled):
                again = self._time_once(network, policy)
                quicker = {name: min(seconds, again[name]) for name, seconds in times.items()}
                found = clocked(self._request.budget, quicker)
            self._timed[policy] = found
        return self._timed[policy]

    def _time_once(self, network: PricedNetwork, policy: Policy) -> dict[str, float]:
        return time_policy(network, policy, self._request.threads)

    def _correct(self, network: PricedNetwork, correction: float) -> bool:
        """Multiply the limit of time, unless nothing is within it then, or everything is."""
        held = _tightened(self.held, correction)
        if held.allows(network.costs.dense) or not _reachable(network, held):
            return False
        self.factor, self.held = self.factor * correction, held
        return True

    def notes(self) -> tuple[str, ...]:
        """What the user should know of the limit that predictions were held to."""
        if self.factor == 1.0:
            return ()
        return (
            f"near the budget this machine's clock says {1 / self.factor:.3f} times what is"
            f" predicted: predictions were held to {100 * self.factor:.1f} % of it",
        )

    def keep(self) -> None:
        """Write by what the limit of time is multiplied in the study that follows."""
        write_whole(self._request.out / FILE, f"{self.factor!r}\n")

    def _seconds_left(self) -> float:
        if self._request.seconds is None or self._began is None:
            return math.inf
        return self._request.seconds - (time.monotonic() - self._began)


def _holds(ratio: float, filled: float) -> bool:
    """Whether a time is near its limit, or below it though no prediction keeps it there."""
    return ratio <= 1 + OVER and (ratio >= 1 - UNDER or filled < 1 - UNDER)


def _reachable(network: PricedNetwork, budget: Budget) -> bool:
    try:
        solve(network.costs, [np.zeros(size) for size in network.space.sizes], budget)
    except InfeasibleError:
        return False
    return True


def _tightened(budget: Budget, factor: float) -> Budget:
    limits = (
        replace(limit, value=limit.value * factor) if limit.quantity == "latency" else limit
        for limit in budget.limits
    )
    return Budget(tuple(limits))


def _kept_factor(folder: Path) -> float:
    path = folder / FILE
    if not path.exists():
        return 1.0
    try:
        factor = float(read_text(path, StudyError, most=_KEPT_BYTES))
    except ValueError:
        factor = math.nan
    if not 0.0 < factor < 100.0:
        raise StudyError(
            f"{path}: {factor:g} is no factor; delete it to begin with the budget as asked"
        )
    return factor


def _most(limit: BudgetText, dense: float) -> float:
    return limit.value * dense if limit.relative else limit.value
