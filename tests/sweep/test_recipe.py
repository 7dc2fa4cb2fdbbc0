"""What a recipe may say, without any search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automl.errors import OptionError, UsageError
from automl.sweep import run_sweep
from automl.sweep.recipe import Case, make_recipe, read_recipe

PLAIN: dict[str, Any] = {"target": "s10-large", "budget": "50%"}


def made(tmp_path: Path, **written: Any) -> Any:
    return make_recipe({"common": PLAIN, **written}, folder=tmp_path)


def test_a_grid_is_all_combinations_and_names_them(tmp_path: Path) -> None:
    recipe = made(
        tmp_path,
        common={"target": "s10-large"},
        grid={"budget": ["50%", ["2ms", "4MB"]], "seed": [0, 1]},
    )
    assert {case.name for case in recipe.cases} == {
        "50pct-seed-0",
        "50pct-seed-1",
        "2ms+4MB-seed-0",
        "2ms+4MB-seed-1",
    }
    by_name = {case.name: case for case in recipe.cases}
    assert by_name["2ms+4MB-seed-1"].search.budget == ("2ms", "4MB")
    assert by_name["2ms+4MB-seed-1"].search.seed == 1
    assert by_name["50pct-seed-0"].task.model == "automl.example.model:pretrained"


def test_named_cases_are_each_done_with_the_grid(tmp_path: Path) -> None:
    cases = [{"name": "few", "trials": 4}, {"name": "many", "trials": 40}]
    recipe = made(tmp_path, cases=cases, grid={"agent": ["optuna-tpe", "random"]})
    found = {case.name: (case.search.trials, case.search.agent) for case in recipe.cases}
    assert found == {
        "few-optuna-tpe": (4, "optuna-tpe"),
        "few-random": (4, "random"),
        "many-optuna-tpe": (40, "optuna-tpe"),
        "many-random": (40, "random"),
    }


def test_searches_that_share_most_stand_beside_each_other(tmp_path: Path) -> None:
    recipe = made(tmp_path, grid={"agent": ["optuna-tpe", "random"], "seed": [1, 0]})
    assert [case.search.seed for case in recipe.cases] == [0, 0, 1, 1]


def test_one_search_needs_neither_grid_nor_cases(tmp_path: Path) -> None:
    recipe = made(tmp_path)
    assert [case.name for case in recipe.cases] == ["search"]
    assert recipe.ray.scheduler == "off"


def test_paths_start_at_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "board.jsonl").write_text("")
    written = tmp_path / "mine.toml"
    written.write_text(
        'out = "results"\n[common]\nbudget = "50%"\ntarget = "board.jsonl"\nmodel = "net.py:make"\n'
        'weights = "net.pt"\ndata = "net.py:data"\n'
    )
    recipe = read_recipe(written)
    (case,) = recipe.cases
    assert recipe.name == "mine"
    assert recipe.out == str(tmp_path / "results")
    assert case.values["target"] == str(tmp_path / "board.jsonl")
    assert case.values["model"] == f"{tmp_path}/net.py:make"
    assert case.values["weights"] == str(tmp_path / "net.pt")


def test_an_address_stays_one(tmp_path: Path) -> None:
    assert made(tmp_path, out="s3://bucket/sweep").out == "s3://bucket/sweep"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"gird": {}}, r"unknown key 'gird' \(did you mean grid\?\)"),
        ({"ray": {"retrys": 1}}, r"unknown key 'retrys' in ray \(did you mean retries\?\)"),
        ({"ray": {"scheduler": "medium"}}, "ray.scheduler: .*found 'medium'"),
        ({"grid": {"sede": [0]}}, r"grid: unknown key 'sede' \(did you mean seed or supernet\?\)"),
        ({"grid": {"seed": 0}}, "grid.seed"),
        ({"grid": {"seed": []}}, "grid: 'seed' has no values"),
        ({"cases": [{"trials": 3}]}, "cases 1: a case needs a name"),
        ({"cases": [{"name": "a"}, {"name": "a"}]}, "two cases are called 'a'"),
        ({"cases": [{"name": "a", "seed": 1}], "grid": {"seed": [0]}}, "'seed' is in the grid"),
        ({"grid": {"out": ["a"]}}, "'out' is the sweep's own to decide"),
        ({"grid": {"workers": [1, 2]}}, "'workers' is the sweep's own to decide"),
        ({"grid": {"seed": [0, 0]}}, "is asked for twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, written: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made(tmp_path, **written)


@pytest.mark.parametrize(
    ("common", "said"),
    [
        ({"agent": "tpee"}, "agent"),
        ({"trials": 0}, "trials: expected a whole number"),
        ({"budget": "1ms,2ms"}, "budget: asks for several searches"),
        ({"model": "a.py:b"}, "data: the model .* needs some"),
        ({"keep_first_last": True, "precisions": "float"}, "keep_first_last"),
    ],
)
def test_an_option_is_checked_before_any_work(
    tmp_path: Path, common: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        made(tmp_path, common=PLAIN | common)
    assert "search" in caught.value.place


def test_a_target_has_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="target: has to be given"):
        made(tmp_path, common={"budget": "50%"})


def test_ten_thousand_searches_have_to_be_asked_for(tmp_path: Path) -> None:
    grid = {"seed": list(range(101)), "calibration": list(range(1, 101))}
    with pytest.raises(UsageError, match=r"10,100 searches, .* 10,000 .*most_searches = 10100"):
        made(tmp_path, grid=grid)
    few = {"seed": [0, 1, 2]}
    with pytest.raises(UsageError, match="3 searches, over the 2"):
        made(tmp_path, grid=few, most_searches=2)
    assert len(made(tmp_path, grid=few, most_searches=3).cases) == 3


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[grid\n")
    with pytest.raises(UsageError, match=r"bad\.toml"):
        read_recipe(tmp_path / "bad.toml")


def test_the_shipped_recipe_is_one_and_runs(tmp_path: Path) -> None:
    shipped = read_recipe(Path(__file__).resolve().parents[2] / "search/recipes/devices.toml")
    assert len(shipped.cases) == 8
    kept = [case for case in shipped.cases if case.name in ("jetson-nano-40pct", "rpi4-4t-60pct")]
    cases = [Case(each.name, {**each.values, "trials": 1, "calibration": 64}) for each in kept]
    result = run_sweep(replace(shipped, cases=tuple(cases), out=str(tmp_path / "out")))
    states = {row.case: row for row in result.rows}
    assert states["jetson-nano-40pct"].state == "INFEASIBLE"
    best = states["rpi4-4t-60pct"]
    assert best.state == "COMPLETE"
    assert best.score is not None
    assert best.score > 0.8
    assert best.on_front


def test_an_example_is_named_or_the_usual_one(tmp_path: Path) -> None:
    names = ["classifier", "denoiser"]
    recipe = made(tmp_path, grid={"example": names})
    found = {case.name: case.task for case in recipe.cases}
    assert {name: task.model for name, task in found.items()} == {
        "classifier": "automl.example.model:pretrained",
        "denoiser": "automl.example.denoiser.model:pretrained",
    }
    assert (found["denoiser"].score, found["denoiser"].input_shape) == ("psnr", (1, 3, 480, 640))
    with pytest.raises(UsageError, match="names a model and an example"):
        made(tmp_path, common=PLAIN | {"model": "a.py:b", "data": "a.py:c", "example": "denoiser"})
    with pytest.raises(OptionError, match="example: no example 'denoise'"):
        made(tmp_path, common=PLAIN | {"example": "denoise"})
