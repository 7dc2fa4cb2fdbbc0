"""Sweeps on Ray: one instance on this machine for the whole file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_sweeps import MakeRecipe

from automl.errors import UsageError
from automl.study import cluster, connected
from automl.sweep import run_sweep
from automl.sweep.results import SearchRow

# Ray's own code is not as strict as ours.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with connected("local"):
        yield


def outcome(row: SearchRow) -> tuple[object, ...]:
    """What does not depend on where a search ran."""
    found = (row.case, row.state, row.score, row.predicted_seconds, row.macs, row.trials)
    return (*found, row.reason, row.on_front)


def test_on_ray_the_result_is_that_of_one_after_another(recipe: MakeRecipe, tmp_path: Path) -> None:
    grid = {"budget": ["60%", "40%", "0.1%"], "agent": ["uniform", "random"]}
    told: list[SearchRow] = []
    here = run_sweep(recipe(tmp_path / "here", grid=grid))
    there = run_sweep(recipe(tmp_path / "there", grid=grid), ray="local", on_row=told.append)
    assert [outcome(row) for row in there.rows] == [outcome(row) for row in here.rows]
    assert {row.case for row in told} == {row.case for row in there.rows}
    assert not there.interrupted
    prepared = list((tmp_path / "there" / "shared").glob("prepared-*.pt"))
    assert len(prepared) == 1  # made once, whoever searches
    again = run_sweep(recipe(tmp_path / "there", grid=grid), ray="local")
    assert again.skipped == 6
    assert again.rows == there.rows


def test_without_ray_it_is_said_what_to_install(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == "ray" else found(name))
    asked = recipe(common={"budget": "60%", "agent": "uniform"}, grid={"seed": [0, 1]})
    with pytest.raises(UsageError, match=r"pip install 'automl-latency\[ray\]'"):
        run_sweep(asked, ray="local")
    one = recipe(common={"budget": "60%", "agent": "uniform"})
    assert run_sweep(one, ray="local").rows[0].state == "COMPLETE"  # which needs none
