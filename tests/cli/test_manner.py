"""How the command speaks: results alone, and JSON on stderr."""

from __future__ import annotations

import io
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from command import BUDGET, MODEL, Pipeline
from rich.console import Console

from automl import pipeline
from automl.cli import progress
from automl.cli.manner import Manner, manner, speaking, split_manner
from automl.cli.progress import Bar
from automl.errors import OptionError, TargetError
from automl.pipeline import Event, TrialPoint


def test_how_to_speak_is_said_anywhere_on_the_line() -> None:
    assert split_manner(["-q", "targets"]) == (["targets"], Manner(quiet=True))
    words = ["show", "policy.json", "--log-format", "json", "--quiet"]
    assert split_manner(words) == (["show", "policy.json"], Manner(quiet=True, as_json=True))
    assert split_manner(["targets", "--log-format=text"]) == (["targets"], Manner())
    with pytest.raises(OptionError, match="text or json is expected"):
        split_manner(["--log-format"])


def test_more_and_less_exclude_each_other(automl: Any, folder: Path) -> None:
    assert split_manner(["-v", "targets"]) == (["targets"], Manner(verbose=True))
    status, _, err = automl("targets", "-q", "-v")
    assert status == 2
    assert err == "automl: --verbose: it asks for more, and quiet for less (--quiet)\n"


@pytest.mark.parametrize("as_json", [True, False])
def test_verbose_tells_each_stage_and_trial(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, width=40, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    scored = TrialPoint(0, "COMPLETE", 0.5, 0.001, 1e6, 1e5, 0.5)
    failed = TrialPoint(1, "FAILED", None, None, 1e6, 1e5, 0.5, "it is\nodd")
    with speaking(Manner(verbose=True, as_json=as_json)), Bar() as bar:
        bar(Event("calibrating", 0, 3))
        bar(Event("calibrating", 1, 3))
        for done, trial in enumerate((scored, failed), 1):
            bar(Event("searching", done, 4, 0.5, 61.0, trial))
    lines = text.getvalue().splitlines()
    assert len(lines) == 4
    if as_json:
        assert json.loads(lines[2])["latency"] == 0.001
        assert json.loads(lines[3])["reason"] == "it is\nodd"
        return
    assert lines == [
        "0 s: calibrating, 0 of 3",
        "0 s: searching, 1 of 4, best 0.5, at most 1 min 1 s left",
        "0 s: trial 0, score 0.5, 1.00 ms, 1.00 MMACs, in 0.5 s",
        "0 s: trial 1, failed, 1.00 MMACs, in 0.5 s: it is\\nodd",
    ]


def test_what_is_logged_is_shown_where_more_is_asked_for(
    automl: Any, searching: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("automl.study.lease")
    told = searching.__call__

    def search(*asked: Any) -> Any:
        log.debug("a beat of \x1b[2J")
        return told(*asked)

    monkeypatch.setattr(pipeline, "search", search)
    assert "automl: debug: a beat of \\x1b[2J" in automl("search", *MODEL, *BUDGET, "-v")[2]
    assert automl("search", *MODEL, *BUDGET)[2] == ""


def test_it_lasts_for_one_command() -> None:
    with speaking(Manner(quiet=True)):
        assert manner().quiet
    assert manner() == Manner()


def test_quiet_leaves_results_alone(automl: Any, searching: Pipeline) -> None:
    status, out, err = automl("search", *MODEL, *BUDGET, "-q")
    assert (status, err) == (0, "")
    assert "predicted latency" in out
    assert "note: head is left alone" in out  # what qualifies the result stays
    assert not any(word in out for word in ("Next:", "Look:"))
    assert "Next:" in automl("search", *MODEL, *BUDGET)[1]


def test_errors_are_objects_where_lines_are(automl: Any, searching: Pipeline) -> None:
    searching.answer = TargetError("no target")
    status, out, err = automl("--log-format", "json", "search", *MODEL, *BUDGET)
    assert (status, out) == (2, "")
    assert [json.loads(each) for each in err.splitlines()] == [{"message": "automl: no target"}]


def test_a_format_that_is_misspelt_is_told_the_nearest(automl: Any, folder: Path) -> None:
    status, _, err = automl("targets", "--log-format", "jsn")
    assert status == 2
    assert err == "automl: --log-format: text or json is expected (did you mean json?)\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_an_object_a_line(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    text = io.StringIO()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    console = Console(file=text, width=40, force_terminal=terminal, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    with speaking(Manner(as_json=True)), Bar() as bar:
        bar(Event("measuring operators", 41, 1183, 0.87654))
        while not text.getvalue().count("\n"):
            time.sleep(0.01)
    lines = [line for line in text.getvalue().splitlines() if line.startswith("{")]
    said = json.loads(lines[0])
    assert said.pop("seconds") < 60
    assert said.pop("stage_seconds") < 60
    assert said == {
        "stage": "measuring operators",
        "done": 41,
        "total": 1183,
        "best": 0.87654,
        "left_seconds": None,
    }
    text.truncate(0)
    with speaking(Manner(quiet=True)), Bar() as bar:
        bar(Event("study", 1, 4))
        time.sleep(0.05)
    assert text.getvalue() == ""
