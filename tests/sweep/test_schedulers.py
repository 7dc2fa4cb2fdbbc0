"""Hopeless searches are ended among those that can be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from automl.sweep.recipe import RaySettings
from automl.sweep.schedulers import ComparableScheduler, make_scheduler
from automl.sweep.trainable import METRIC


@dataclass(eq=False)
class FakeTrial:
    """What a rule looks at."""

    budget: str
    seed: int
    trial_id: str = ""
    status: str = "RUNNING"
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.config = {"case": {"values": {"budget": self.budget, "seed": self.seed}}}
        self.trial_id = f"{self.budget}-{self.seed}"


def decisions(kind: str, scores: dict[FakeTrial, float]) -> dict[str, str]:
    """What is decided of each trial after its last of many reports."""
    scheduler: Any = make_scheduler(RaySettings(scheduler=kind, grace=2))  # type: ignore[arg-type]
    found = {}
    for trial in scores:
        scheduler.on_trial_add(None, trial)
    for number in range(1, 9):
        for trial, score in scores.items():
            if "STOP" not in found.get(trial.trial_id, ""):
                result = {METRIC: score, "trials": number}
                found[trial.trial_id] = scheduler.on_trial_result(_Controller(), trial, result)
    return found


class _Controller:
    """With a trial that waits: none is paused for it."""

    def get_live_trials(self) -> list[FakeTrial]:
        return [FakeTrial("50%", 99, status="PENDING")]


@pytest.mark.parametrize("kind", ["median", "asha"])
def test_a_hopeless_search_is_ended(kind: str) -> None:
    scores = {FakeTrial("50%", seed): 0.875 for seed in range(5)} | {FakeTrial("50%", 9): 0.1}
    found = decisions(kind, scores)
    assert found.pop("50%-9") == "STOP"
    assert set(found.values()) == {"CONTINUE"}


@pytest.mark.parametrize("kind", ["median", "asha"])
def test_a_tighter_budget_is_not_hopeless(kind: str) -> None:
    scores = {FakeTrial("50%", seed): 0.875 for seed in range(5)} | {FakeTrial("20%", 0): 0.1}
    assert decisions(kind, scores)["20%-0"] == "CONTINUE"


def test_the_last_report_ends_no_search_and_needs_no_score() -> None:
    scheduler = ComparableScheduler("median", 1)
    trial = FakeTrial("50%", 0)
    assert scheduler.on_trial_result(None, trial, {"row": {}}) == "CONTINUE"
    scheduler.on_trial_complete(None, trial, {"row": {}, METRIC: float("nan")})


def test_off_is_none() -> None:
    assert make_scheduler(RaySettings()) is None
