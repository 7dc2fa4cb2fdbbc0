"""What is told of a trial while a search goes on, and how long the search still takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from automl.cost import Cost
from automl.pipeline.log import Log
from automl.pipeline.points import Course, TrialPoint
from automl.pipeline.requests import Event
from automl.policy.policy import Policy
from automl.study.problem import Completed, Failed


def test_the_cost_is_what_the_score_is_traded_against() -> None:
    point = TrialPoint(0, "COMPLETE", 0.5, 0.001, 7.0, 9.0, 0.1)
    assert point.cost == 0.001
    assert replace(point, course=Course(quantity="macs")).cost == 7.0
    assert replace(point, course=Course(quantity="bytes")).cost == 9.0
    assert replace(point, course=Course(quantity="joules")).cost is None


def test_trials_are_told_with_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("automl.pipeline.log.time.monotonic", lambda: now[0])
    heard: list[Event] = []
    log = Log(tmp_path / "log.jsonl", heard.append)
    log.expect(Course(trials=4, seconds=50.0))
    now[0] += 10.0
    log.trial(Completed(0, Policy(), Cost(1.0, 2.0, 3.0), 0.1, 0.5), None)
    now[0] += 10.0
    log.trial(Failed(1, Policy(), Cost(float("nan"), 2.0, 3.0), 0.1, "odd"), None)
    assert [event.left_seconds for event in heard] == [30.0, 20.0]
    assert [event.total for event in heard] == [4, 4]
    failed = heard[1].trial
    assert failed is not None
    assert (failed.score, failed.latency, failed.reason) == (None, None, "odd")
    log.expect(Course(trials=4))  # another study of the run
    log.trial(Completed(0, Policy(), Cost(1.0, 2.0, 3.0), 0.1, 0.5), None)
    assert (heard[2].done, heard[2].total) == (3, 6)


def test_stored_trials_take_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("automl.pipeline.log.time.monotonic", lambda: now[0])
    trials = [Completed(each, Policy(), Cost(1.0, 2.0, 3.0), 0.1, 0.5) for each in range(3)]
    first = Log(tmp_path / "log.jsonl", lambda event: None)
    for each in trials[:2]:
        first.trial(each, None)
    heard: list[Event] = []
    log = Log(tmp_path / "log.jsonl", heard.append, resume=True)
    log.expect(Course(trials=5))
    for each in trials:
        now[0] += 3.0
        log.trial(each, None)
    assert [event.left_seconds for event in heard] == [None, None, 6.0]
    assert [event.trial is not None and event.trial.stored for event in heard] == [
        True,
        True,
        False,
    ]


def test_a_number_of_an_earlier_study_is_not_one_of_a_later(tmp_path: Path) -> None:
    trials = [Completed(each, Policy(), Cost(1.0, 2.0, 3.0), 0.1, 0.5) for each in range(4)]
    first = Log(tmp_path / "log.jsonl", lambda event: None)
    for count in (4, 2):  # the second study is cut short
        first.expect(Course(trials=4))
        for each in trials[:count]:
            first.trial(each, None)
    heard: list[Event] = []
    log = Log(tmp_path / "log.jsonl", heard.append, resume=True)
    for _ in range(2):
        log.expect(Course(trials=4))
        for each in trials:
            log.trial(each, None)
    stored = [event.trial.stored for event in heard if event.trial is not None]
    assert stored == [True] * 6 + [False] * 2
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [each["trial"] for each in lines if "trial" in each] == [0, 1, 2, 3, 0, 1, 2, 3]
