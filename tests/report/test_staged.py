"""A search in stages is shown as one: its stages in a line, each with its own part of the page."""

from __future__ import annotations

from pathlib import Path

from made_runs import make_run, make_staged

from automl.report import read_run, write_report
from automl.report.reporting import runs_in
from automl.report.staged import line_of, stage_folders


def test_stages_are_in_their_order_whatever_is_beside_them(tmp_path: Path) -> None:
    for name in ("stage-10", "stage-2", "stage-x", "front"):
        (tmp_path / name).mkdir()
    assert [path.name for path in stage_folders(tmp_path)] == ["stage-2", "stage-10"]
    assert stage_folders(tmp_path / "none") == []


def test_a_line_says_what_each_stage_came_to_and_began_with(tmp_path: Path) -> None:
    run = make_staged(tmp_path / "run")
    found = read_run(run)
    assert [each["name"] for each in found["line"]] == ["stage-1", "stage-2"]
    assert [each["stage"] for each in found["line"]] == [1, 2]
    assert found["line"][1]["parent"] == "1" * 64
    assert found["line"][0]["dense"] == found["policy"]["dense"]
    assert found["state"] == "finished"
    assert not any("run.json" in problem for problem in found["problems"])
    assert read_run(make_run(tmp_path / "plain"))["line"] == []


def test_the_page_shows_the_whole_and_its_stages(tmp_path: Path) -> None:
    run = make_staged(tmp_path / "run")
    stages = [run / "stage-1", run / "stage-2"]
    assert runs_in(run) == [run, *stages]
    found = write_report([run])
    assert found.path == run / "report.html"
    assert found.runs == tuple(map(str, (run, *stages)))
    assert found.trials == 24


def test_a_damaged_stage_is_said(tmp_path: Path) -> None:
    run = make_staged(tmp_path / "run")
    (run / "stage-1" / "staged.json").write_text("{")
    plain = (run / "stage-2" / "policy.json").read_text(encoding="utf-8")
    (run / "stage-2" / "staged.json").write_text(plain, encoding="utf-8")
    problems: list[str] = []
    assert line_of(run, problems) == []
    assert len(problems) == 2
    assert "says nothing of the stage before" in problems[1]
