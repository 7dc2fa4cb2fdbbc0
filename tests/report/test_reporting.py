"""Folders of runs, fronts and sweeps become a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import make_run, make_sweep

from automl.errors import StudyError
from automl.report.reporting import runs_in, short_names, write_report


def test_a_run_s_page_goes_into_its_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    found = write_report([run])
    assert found.path == run / "report.html"
    assert found.path.stat().st_size == found.bytes
    assert found.trials == 12


def test_runs_and_sweeps_go_onto_one_page(tmp_path: Path) -> None:
    run, sweep = make_run(tmp_path / "run"), make_sweep(tmp_path / "sweep")
    found = write_report([run, sweep, run], tmp_path / "all.html")
    assert (found.runs, found.sweeps) == ((str(run),), (str(sweep),))


def test_a_front_s_folder_holds_its_runs(tmp_path: Path) -> None:
    made = [make_run(tmp_path / "front" / name) for name in ("40pct", "60pct")]
    assert runs_in(tmp_path / "front") == made


def test_what_holds_no_run_is_refused_with_the_nearest(tmp_path: Path) -> None:
    make_run(tmp_path / "example")
    with pytest.raises(StudyError, match=r"examlpe does not exist.*example"):
        write_report([tmp_path / "examlpe"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="holds no run"):
        write_report([tmp_path / "empty"])
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="is no folder"):
        write_report([tmp_path / "file"])


def test_names_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "run", tmp_path / "b" / "run"
    assert short_names([one, other]) == {one: "a/run", other: "b/run"}
    assert short_names([one]) == {one: "run"}
