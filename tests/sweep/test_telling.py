"""What the driver hears of trials that end."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_sweeps import MakeRecipe

from automl.policy import PolicyFile
from automl.sweep.recipe import Case
from automl.sweep.results import row_of, row_to_json
from automl.sweep.running import Searcher, read_record
from automl.sweep.store import ResultStore
from automl.sweep.telling import Teller, hearing
from automl.sweep.trainable import METRIC


@dataclass
class FakeTrial:
    """What a callback looks at."""

    config: dict[str, Any]
    last_result: dict[str, Any]


def configured(case: Case, folder: Path) -> dict[str, Any]:
    return {"case": {"name": case.name, "values": dict(case.values), "store": str(folder)}}


def test_listeners_hear_the_row_and_only_within_their_block(
    recipe: MakeRecipe, tmp_path: Path
) -> None:
    (case,) = recipe(common={"budget": "60%"}).cases
    row = row_of(case, "COMPLETE", score=0.5)
    trial = FakeTrial(configured(case, tmp_path), {"row": row_to_json(row)})
    told = []
    teller = pickle.loads(pickle.dumps(Teller()))  # as Tune keeps it with the experiment
    with hearing(told.append) as heard:
        teller.on_trial_complete(1, [], trial)
    teller.on_trial_complete(2, [], trial)
    assert told == heard == [row]


def test_a_search_that_the_scheduler_ended_is_recorded(recipe: MakeRecipe, tmp_path: Path) -> None:
    (case,) = recipe(common={"budget": "60%"}).cases
    store = ResultStore(str(tmp_path))
    policy = finished_policy(recipe, tmp_path / "other")
    store.write(f"{case.name}/policy.json", policy)
    trial = FakeTrial(configured(case, tmp_path), {METRIC: 0.25, "trials": 7, "time_total_s": 3.0})
    with hearing(lambda row: None) as (heard):
        Teller().on_trial_complete(1, [], trial)
    (row,) = heard
    assert (row.state, row.score, row.trials, row.seconds) == ("STOPPED", 0.25, 7, 3.0)
    assert row.macs == PolicyFile.model_validate_json(policy).predicted.macs
    assert row.predicted_seconds is not None
    assert read_record(case, store) == row


def finished_policy(recipe: MakeRecipe, folder: Path) -> bytes:
    """A policy file as a search leaves it."""
    (case,) = recipe(common={"budget": "60%"}).cases
    store = ResultStore(str(folder))
    assert Searcher(folder / "shared").run(case, store).state == "COMPLETE"
    return (folder / case.name / "policy.json").read_bytes()


def test_one_that_was_ended_before_a_policy_was_scored_has_none(
    recipe: MakeRecipe, tmp_path: Path
) -> None:
    (case,) = recipe(common={"budget": "60%"}).cases
    with hearing(lambda row: None) as (heard):
        Teller().on_trial_complete(1, [], FakeTrial(configured(case, tmp_path), {}))
    (row,) = heard
    assert (row.state, row.score, row.macs) == ("STOPPED", None, None)
