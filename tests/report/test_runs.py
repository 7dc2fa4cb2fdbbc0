"""A run's folder is read as far as it can be, and what cannot be is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import make_run

from automl.files import locked
from automl.report.runs import is_run, read_run


def test_a_finished_run_is_read_whole(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    assert run["state"] == "finished"
    assert run["problems"] == []
    assert run["counted"] == run["shown"] == 12
    assert run["outcome"]["compressed"]["score"] == 0.92
    assert all(len(each) == 4 for each in run["trials"]["chosen"])
    assert run["stages"][0] == ["reading the network", 1.0]


def test_a_run_that_is_going_on_is_said_to_be(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "outcome.json").unlink()
    with locked(folder):
        assert read_run(folder)["state"] == "running"
    assert read_run(folder)["state"] == "unfinished"


@pytest.mark.parametrize("name", ["run.json", "outcome.json", "policy.json"])
def test_of_a_damaged_run_the_rest_is_there(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_bytes((folder / name).read_bytes()[:40])
    run = read_run(folder)
    assert name in " ".join(run["problems"])
    assert run["counted"] == 12


def test_choices_that_the_space_lacks_are_left_out(tmp_path: Path) -> None:
    few = [{"kind": "channels", "name": "l0", "options": ["4", "8"]}]
    assert read_run(make_run(tmp_path / "run", variables=few))["trials"]["chosen"] == [None] * 12


def test_an_earlier_version_s_run_is_shown_by_its_policy(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    for name in ("run.json", "outcome.json"):
        (folder / name).unlink()
    run = read_run(folder)
    assert run["policy"]["score"] == 0.92
    assert "run.json" in run["problems"][0]


def test_what_is_no_run_is_none(tmp_path: Path) -> None:
    assert not is_run(tmp_path)
    assert not is_run(tmp_path / "missing")
