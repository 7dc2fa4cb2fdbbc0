"""One search of a sweep: its row, its record, and what it was made of."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from pathlib import Path

import pytest
from tiny_sweeps import MakeRecipe

from automl.files import locked
from automl.policy import read_policy
from automl.sweep import running
from automl.sweep.provenance import provenance_of
from automl.sweep.running import RECORD, Searcher, read_record
from automl.sweep.store import ResultStore


def test_steps_are_told_and_a_record_is_left(recipe: MakeRecipe, tmp_path: Path) -> None:
    (case,) = recipe(common={"budget": "60%", "agent": "random"}).cases
    store = ResultStore(str(tmp_path / "out"))
    steps: list[tuple[int, float]] = []
    searcher = Searcher(tmp_path / "shared")
    row = searcher.run(case, store, on_step=lambda trials, best: steps.append((trials, best)))
    assert [trials for trials, _ in steps] == [1, 2, 3]
    scores = [best for _, best in steps]
    assert scores == sorted(scores)  # of the best so far
    assert read_record(case, store) == row
    assert searcher.run(case, store) == row


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_search_that_is_ended_in_a_report_leaves_its_best_so_far(
    recipe: MakeRecipe, tmp_path: Path, scheme: str
) -> None:
    (case,) = recipe(common={"budget": "60%", "agent": "random", "trials": 6}).cases
    store = ResultStore(f"{scheme}{tmp_path / 'out'}")
    best: list[float] = []

    def stop(trials: int, score: float) -> None:
        best.append(score)
        if trials == 4:
            sys.exit(0)  # as Tune's session does where the scheduler has decided so

    with pytest.raises(SystemExit):
        Searcher(tmp_path / "shared").run(case, store, on_step=stop)
    file = read_policy(tmp_path / "out" / case.name / "policy.json")
    assert file.score == best[-1]
    assert file.scored_on is not None
    assert "validation" in file.scored_on
    assert read_record(case, store) is None


def test_a_resumed_search_writes_no_policy_of_trials_that_are_replayed(
    recipe: MakeRecipe, tmp_path: Path
) -> None:
    (case,) = recipe(common={"budget": "60%", "agent": "random"}).cases
    store = ResultStore(str(tmp_path / "out"))
    searcher = Searcher(tmp_path / "shared")
    searcher.run(case, store)
    folder = tmp_path / "out" / case.name
    (folder / RECORD).unlink()
    finished = (folder / "policy.json").read_bytes()
    with pytest.raises(SystemExit):
        searcher.run(case, store, on_step=lambda trials, best: sys.exit(0))
    assert (folder / "policy.json").read_bytes() == finished


def test_a_driver_of_another_version_is_refused_in_the_row(
    recipe: MakeRecipe, tmp_path: Path
) -> None:
    (case,) = recipe(common={"budget": "60%"}).cases
    store = ResultStore(str(tmp_path / "out"))
    driver = dataclasses.replace(provenance_of(case), version="9.9")
    row = Searcher(tmp_path / "shared").run(case, store, driver=driver)
    assert row.state == "FAILED"
    assert "driver 9.9" in row.reason
    assert read_record(case, store) is None  # it is tried again


def test_a_record_that_is_none_fails_its_case(recipe: MakeRecipe, tmp_path: Path) -> None:
    (case,) = recipe(common={"budget": "60%"}).cases
    store = ResultStore(str(tmp_path / "out"))
    store.write(f"{case.name}/{RECORD}", b"{")
    row = Searcher(tmp_path / "shared").run(case, store)
    assert row.state == "FAILED"
    assert "is no record of a search" in row.reason


def test_a_record_holds_options_and_digests(recipe: MakeRecipe, tmp_path: Path) -> None:
    (case,) = recipe(common={"budget": "0.1%"}).cases
    store = ResultStore(str(tmp_path / "out"))
    assert Searcher(tmp_path / "shared").run(case, store).state == "INFEASIBLE"
    found = json.loads((tmp_path / "out" / case.name / RECORD).read_text())["of"]
    assert found["budget"] == "0.1%"
    (digest,) = {value for key, value in found.items() if key.endswith("tiny.py")}
    assert len(digest) == 64


def test_a_search_waits_for_an_actor_that_has_not_ended(recipe: MakeRecipe, tmp_path: Path) -> None:
    (case,) = recipe(common={"budget": "60%", "agent": "random"}).cases
    store = ResultStore(str(tmp_path / "out"))
    folder = tmp_path / "out" / case.name
    folder.mkdir(parents=True)
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(folder):
            held.set()
            leave.wait(60.0)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60.0)
    threading.Timer(0.5, leave.set).start()
    row = Searcher(tmp_path / "shared").run(case, store)
    holder.join()
    assert row.state == "COMPLETE", row.reason


def test_what_an_ending_actor_recorded_is_not_searched_again(
    recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = recipe(common={"budget": "60%", "agent": "random"}).cases
    store = ResultStore(str(tmp_path / "out"))
    recorded = Searcher(tmp_path / "shared").run(case, store)
    path = tmp_path / "out" / case.name / RECORD
    content = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(running, "wait_until_free", lambda *_: path.write_bytes(content))
    steps: list[int] = []
    row = Searcher(tmp_path / "shared").run(
        case, store, on_step=lambda trials, _: steps.append(trials)
    )
    assert row == recorded
    assert not steps
