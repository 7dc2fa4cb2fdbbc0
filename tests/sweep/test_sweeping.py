"""Whole sweeps without a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_sweeps import COMMON, TINY, MakeRecipe

from automl.errors import StudyError
from automl.sweep import run_sweep
from automl.sweep.recipe import make_recipe
from automl.sweep.results import SearchRow


def test_a_sweep_ends_with_a_row_a_search_and_is_not_done_twice(recipe: MakeRecipe) -> None:
    asked = recipe(grid={"budget": ["60%", "40%"], "agent": ["uniform", "random"]})
    told: list[SearchRow] = []
    first = run_sweep(asked, on_row=told.append)
    assert [row.state for row in first.rows] == ["COMPLETE"] * 4
    assert [row.case for row in first.rows] == [case.name for case in asked.cases]
    assert len(told) == 4
    assert first.front
    for row in first.rows:
        assert row.score is not None
        assert row.seconds > 0.0
        assert (Path(row.folder) / "policy.json").is_file()
    written = json.loads((Path(asked.out) / "results.json").read_text())
    assert [each["case"] for each in written["rows"]] == [row.case for row in first.rows]
    again = run_sweep(asked, on_row=told.append)
    assert len(told) == 4
    assert again.skipped == 4
    assert again.rows == first.rows


def test_an_infeasible_case_is_recorded_and_the_sweep_goes_on(recipe: MakeRecipe) -> None:
    result = run_sweep(recipe(grid={"budget": ["0.1%", "60%"]}, common={"agent": "uniform"}))
    states = {row.budget[0]: row for row in result.rows}
    assert states["60%"].state == "COMPLETE"
    assert states["0.1%"].state == "INFEASIBLE"
    assert "the least is" in states["0.1%"].reason


def test_a_users_function_that_fails_or_exits_fails_its_own_case(
    recipe: MakeRecipe, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text(
        "import sys\n\ndef leave():\n    sys.exit(3)\n\ndef fall():\n    raise OSError('no disk')\n"
    )
    cases = [
        {"name": "good", "model": f"{TINY}:model"},
        {"name": "leaves", "model": "bad.py:leave"},
        {"name": "falls", "model": "bad.py:fall"},
        {"name": "lacks", "model": "bad.py:nothing"},
    ]
    common = {key: value for key, value in COMMON.items() if key != "model"}
    target = recipe(common={"budget": "60%"}).cases[0].values["target"]
    written = {
        "common": {**common, "budget": "60%", "target": target, "agent": "uniform"},
        "cases": cases,
        "out": str(tmp_path / "out"),
    }
    result = run_sweep(make_recipe(written, folder=tmp_path))
    rows = {row.case: row for row in result.rows}
    assert rows["good"].state == "COMPLETE"
    assert {rows[name].state for name in ("leaves", "falls", "lacks")} == {"FAILED"}
    assert "sys.exit(3)" in rows["leaves"].reason
    assert "bad.py:4" in rows["leaves"].reason
    assert "no disk" in rows["falls"].reason
    assert "nothing" in rows["lacks"].reason
    # what failed is tried again, what is done is not
    assert run_sweep(make_recipe(written, folder=tmp_path)).skipped == 1


def test_a_search_that_was_cut_short_goes_on_where_it_was(recipe: MakeRecipe) -> None:
    asked = recipe(common={"budget": "60%", "agent": "random"})
    whole = run_sweep(asked).rows[0]
    folder = Path(whole.folder)
    lines = (folder / "log.jsonl").read_text().splitlines()
    (folder / "result.json").unlink()  # as where the process was killed before its end
    again = run_sweep(asked).rows[0]
    assert (again.score, again.trials) == (whole.score, whole.trials)
    now = (folder / "log.jsonl").read_text().splitlines()
    trials = [json.loads(line)["trial"] for line in now if "trial" in json.loads(line)]
    assert len(now) > len(lines)
    assert trials == list(range(whole.trials))  # replayed, not scored again


def test_a_folder_of_other_searches_is_refused_by_what_differs(recipe: MakeRecipe) -> None:
    run_sweep(recipe(common={"budget": "60%", "agent": "uniform"}))
    (row,) = run_sweep(recipe(common={"budget": "40%", "agent": "uniform"})).rows
    assert row.state == "FAILED"
    assert "holds a search of another budget" in row.reason


def test_results_that_cannot_be_written_are_found_before_any_work(
    recipe: MakeRecipe, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    told: list[SearchRow] = []
    with pytest.raises(StudyError, match="cannot be written"):
        run_sweep(
            recipe(out=tmp_path / "file" / "out", common={"budget": "60%"}), on_row=told.append
        )
    assert told == []


def test_an_address_holds_what_a_folder_holds(recipe: MakeRecipe, tmp_path: Path) -> None:
    out = tmp_path / "far"
    asked = recipe(out=out.as_uri(), common={"budget": "60%", "agent": "uniform"})
    (row,) = run_sweep(asked).rows
    assert row.state == "COMPLETE"
    assert (out / "search" / "policy.json").is_file()
    assert (out / "results.json").is_file()
    assert run_sweep(asked).skipped == 1
