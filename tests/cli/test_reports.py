"""`automl report` as a user types it, and the report that a search leaves."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run

from automl.cli import reports
from automl.files import locked


def test_a_report_is_written_and_what_opens_it_is_said(automl: Any, folder: Path) -> None:
    make_run(folder / "run")
    status, out, err = automl("report", "run", "-o", "page.html")
    assert (status, err) == (0, "")
    assert "1 run, 12 trials" in out
    assert out.splitlines()[-1] == "Next: python -m webbrowser page.html"
    assert (folder / "page.html").is_file()


def test_the_answer_can_be_had_as_json(automl: Any, folder: Path) -> None:
    make_run(folder / "run")
    _, out, _ = automl("report", "run", "--json")
    assert json.loads(out)["path"] == "run/report.html"


@pytest.mark.parametrize("there", [True, False])
def test_a_browser_opens_it_where_there_is_one(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: shown.append(url) or there)
    make_run(folder / "run")
    status, _, err = automl("report", "run", "--open")
    assert status == 0
    assert shown == [(folder / "run" / "report.html").resolve().as_uri()]
    assert ("no browser" in err) is not there


def test_a_folder_that_is_misspelt_is_told_the_nearest(automl: Any, folder: Path) -> None:
    make_run(folder / "example")
    status, _, err = automl("report", "exampel")
    assert status == 2
    assert err == "automl: exampel does not exist (did you mean example?)\n"


def test_what_is_damaged_is_said(automl: Any, folder: Path) -> None:
    (make_run(folder / "run") / "outcome.json").write_text("{")
    _, out, _ = automl("report", "run")
    assert "note: run: run/outcome.json: not JSON" in out


def test_a_run_that_goes_on_or_never_ended_is_said(automl: Any, folder: Path) -> None:
    run = make_run(folder / "run")
    (run / "outcome.json").unlink()
    with locked(run):
        _, out, _ = automl("report", "run")
    assert "note: run is still going: what it found so far is shown\n" in out
    _, out, _ = automl("report", "run")
    assert "note: run did not come to its end: what it found is shown\n" in out


def test_trials_that_are_not_drawn_are_counted(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(folder / "run")
    monkeypatch.setattr("automl.report.runs.thinned", lambda trials: list(trials)[:5])
    _, out, _ = automl("report", "run")
    assert "note: run: 5 of its 12 trials are drawn\n" in out


def test_a_run_without_a_report_is_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    assert reports.reported(folder / "empty") is None
    assert "no report of" in capsys.readouterr().err
    assert reports.reported(folder / "missing") is None
    written = reports.reported(make_run(folder / "run"))
    reports.say_look(written)
    assert capsys.readouterr().out.startswith("Look: automl report ")
