"""The log of a run holds each finished trial once, however often the run is gone on with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tiny import request, write_table

from automl.cost import Cost
from automl.pipeline import search
from automl.pipeline.log import Log
from automl.pipeline.points import TrialPoint
from automl.pipeline.requests import Event, ignore
from automl.policy.policy import Policy
from automl.study.problem import Completed


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def trial(number: int) -> Completed:
    return Completed(number, Policy(), Cost(1.0, 2.0, 3.0), 0.1, 0.5)


def test_a_resumed_search_logs_no_trial_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    asked = request(board, tmp_path / "run", "60%", agent="random", trials=2)
    search(asked)
    search(dataclasses.replace(asked, trials=5, resume=True))
    trials = [line["trial"] for line in lines(tmp_path / "run") if "trial" in line]
    assert trials == [0, 1, 2, 3, 4]


def test_a_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path, ignore)
    log.trial(trial(0), None)
    whole = path.read_bytes()
    log.trial(trial(1), None)
    path.write_bytes(path.read_bytes()[:-20])
    log = Log(path, ignore, resume=True)
    log.trial(trial(0), None)
    assert path.read_bytes()[: len(whole)] == whole
    log.trial(trial(1), None)
    broken, stage, last = path.read_text().splitlines()[-3:]
    assert '"trial": 1' in broken
    assert json.loads(stage)["stage"] == "searching"
    assert json.loads(last)["trial"] == 1


def test_searching_anew_logs_all_trials(tmp_path: Path) -> None:
    """As between two searches of one run that measures."""
    log = Log(tmp_path / "log.jsonl", ignore)
    for _ in range(2):
        log.trial(trial(0), None)
    assert [line["trial"] for line in lines(tmp_path) if "trial" in line] == [0, 0]


def test_stages_are_logged_once_and_events_tell_the_best(tmp_path: Path) -> None:
    events: list[Event] = []
    log = Log(tmp_path / "log.jsonl", events.append)
    log(Event("calibrating", 0, 2))
    log(Event("calibrating", 1, 2))
    log.trial(trial(0), trial(0))
    assert [line["stage"] for line in lines(tmp_path) if "stage" in line] == [
        "calibrating",
        "searching",
    ]
    told = TrialPoint(0, "COMPLETE", 0.5, 1.0, 2.0, 3.0, 0.1)
    assert events[-1] == Event("searching", 1, best=0.5, trial=told)


def test_each_stage_tells_what_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("automl.pipeline.log.time.monotonic", lambda: now[0])
    log = Log(tmp_path / "log.jsonl", ignore)
    for stage, seconds in (("calibrating", 3.0), ("searching", 5.0), ("calibrating", 2.0)):
        log(Event(stage, 0))
        now[0] += seconds
        log(Event(stage, 1))
    log(Event("done", 1))
    assert [(each.name, each.seconds) for each in log.stages] == [
        ("calibrating", 5.0),
        ("searching", 5.0),
    ]
    assert all(each.peak_bytes is None or each.peak_bytes > 10_000_000 for each in log.stages)
    written = [line["stage"] for line in lines(tmp_path)]
    assert written == ["calibrating", "searching", "calibrating", "done"]
    assert all("peak_bytes" in line for line in lines(tmp_path))
