"""What is said of a study to whom its result is given."""

from __future__ import annotations

import dataclasses
from math import nan
from pathlib import Path

from tiny import request

from automl.cost.budget import Cost
from automl.pipeline.requests import SearchRequest
from automl.pipeline.study_notes import alone_notes, held_notes
from automl.policy import Policy
from automl.study.loop import StudyResult
from automl.study.problem import Completed

DENSE = Cost(latency=0.01, macs=1e6, bytes=1e3)


def test_kinds_that_the_agent_does_not_choose_are_said() -> None:
    assert held_notes("amc", ()) == ()
    said = ("amc does not choose resolution and bits: held as in the dense model",)
    assert held_notes("amc", ("resolution", "bits")) == said


def said(
    trials: int, dense_score: float | None, asked: SearchRequest, dense: Cost = DENSE
) -> tuple[str, ...]:
    cost = Cost(latency=0.004, macs=3e5, bytes=5e2)
    done = tuple(Completed(number, Policy(), cost, 1.0, 0.8) for number in range(trials))
    return alone_notes(asked, StudyResult(done, done[0], done[:1]), done[0], dense, dense_score)


def test_why_a_study_ended_after_one_policy_is_said(tmp_path: Path) -> None:
    asked = request("board", tmp_path, "50%")
    (hopeless,) = said(1, 0.9, asked)
    assert "seems hopeless; it has 40.0 % of the dense latency: allow more" in hopeless
    assert said(1, None, asked) == (hopeless,)
    for as_good in (0.8, 0.7):
        (note,) = said(1, as_good, asked)
        assert note.endswith("it scores no less than the dense network")
    (counted,) = said(1, 0.9, asked, dataclasses.replace(DENSE, latency=nan))
    assert "30.0 % of the dense MACs" in counted


def test_nothing_is_said_of_a_study_that_went_on_or_was_to_end(tmp_path: Path) -> None:
    asked = request("board", tmp_path, "50%")
    assert said(2, 0.7, asked) == ()
    assert said(1, 0.7, dataclasses.replace(asked, trials=1)) == ()
    assert said(1, 0.7, dataclasses.replace(asked, time=60.0)) == ()
