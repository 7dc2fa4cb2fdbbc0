"""Ending hopeless searches: Tune's rules, each among searches that can be compared."""

from __future__ import annotations

import json
from math import inf, isfinite, nan
from typing import Any, Final

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from automl.errors import UsageError
from automl.sweep.recipe import RaySettings
from automl.sweep.trainable import CASE, METRIC

#: Options in which searches may differ and still be compared: who searches, and how long.
_APART: Final = frozenset({"agent", "seed", "warm_start", "full_scores", "trials", "time"})
#: ASHA's last rung.
_MOST_TRIALS: Final = 10_000


def make_scheduler(settings: RaySettings) -> TrialScheduler | None:
    """The recipe's scheduler; None for none.

    Raises:
        UsageError: There is no such scheduler.
    """
    if settings.scheduler == "off":
        return None
    if settings.scheduler not in ("median", "asha"):
        raise UsageError(f"no scheduler {settings.scheduler!r}")
    return ComparableScheduler(settings.scheduler, settings.grace)


class ComparableScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray is not followed
    """One rule of Tune's for each set of searches of one problem.

    A search with a tight budget scores less than one with a loose budget, and is not hopeless.

    Args:
        kind: "median" or "asha".
        grace: Trials that every search may finish.
    """

    def __init__(self, kind: str, grace: int) -> None:
        super().__init__()
        self._kind, self._grace = kind, grace
        self._rules: dict[str, TrialScheduler] = {}
        self._metric = METRIC

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tell the rule of the trial's problem."""
        self._rule(trial).on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Tell the rule of the trial's problem."""
        self._rule(trial).on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """What the rule of the trial's problem decides; the last report ends no search."""
        if "row" in result:
            return str(TrialScheduler.CONTINUE)
        return str(self._rule(trial).on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tell the rule of the trial's problem, where the search scored anything."""
        if isfinite(result.get(METRIC, nan)):
            self._rule(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Tell the rule of the trial's problem."""
        self._rule(trial).on_trial_remove(tune_controller, trial)

    def debug_string(self) -> str:
        """For Tune's status."""
        return f"{self._kind} among comparable searches"

    def _rule(self, trial: Any) -> TrialScheduler:
        values = trial.config[CASE]["values"]
        problem = {key: value for key, value in values.items() if key not in _APART}
        key = json.dumps(problem, sort_keys=True, default=str)
        if key not in self._rules:
            self._rules[key] = self._new()
        return self._rules[key]

    def _new(self) -> TrialScheduler:
        common: dict[str, Any] = {"time_attr": "trials", "metric": METRIC, "mode": "max"}
        if self._kind == "median":
            # It would also pause searches for others that wait, which keeps nothing of use.
            never: Any = inf
            return MedianStoppingRule(**common, grace_period=self._grace, min_time_slice=never)
        return ASHAScheduler(**common, grace_period=self._grace, max_t=_MOST_TRIALS)
