"""Which folder a search goes into, and what is asked for there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import task

from automl.agents.registry import default_trials
from automl.errors import OptionError
from automl.files import locked
from automl.options.search import SearchOptions
from automl.pipeline.runs import first_request, make_request, most_trials, run_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(**given: Any) -> SearchOptions:
    return SearchOptions(**{"target": "tables/rpi4.jsonl", "budget": ("50%", "4MB")} | given)


def test_a_request_has_the_options_and_a_folder_of_their_name(folder: Path) -> None:
    made = make_request(task(), options(seed=3, time="2min"))
    assert made.out == Path("runs/tiny-rpi4-50pct-4MB")
    assert (made.seed, made.seconds, made.budget) == (3, 120.0, ("50%", "4MB"))
    assert make_request(task(), options(out="here")).out == Path("here")


def test_runs_of_one_name_are_numbered(folder: Path) -> None:
    first = run_folder(["a.b:net", "cpu"], resume=False)
    assert first == Path("runs/a.b-net-cpu")
    first.mkdir(parents=True)
    assert run_folder(["a.b:net", "cpu"], resume=False) == first, "no study began there"
    with locked(first):
        second = run_folder(["a.b:net", "cpu"], resume=False)
    assert second == Path("runs/a.b-net-cpu-2"), "a search runs there"
    (first / "policy.json").touch()
    assert run_folder(["a.b:net", "cpu"], resume=False) == Path("runs/a.b-net-cpu-2")
    assert run_folder(["a.b:net", "cpu"], resume=True) == first


def test_trials_are_the_agents_own_number_unless_a_time_is_given(folder: Path) -> None:
    def most(**given: Any) -> int | None:
        return most_trials(make_request(task(), options(**given)))

    assert most(agent="amc") == default_trials("amc")
    assert most(agent="amc", time="2h") is None
    assert most(agent="amc", time="2h", trials=7) == 7
    assert most(trials=7) == 7
    assert most() is None, "the solver ends by itself"


def test_the_folder_of_a_front_is_taken_too(folder: Path) -> None:
    first = run_folder(["front"], resume=False)
    (first / "50pct").mkdir(parents=True)
    assert run_folder(["front"], resume=False) == first
    (first / "50pct" / "study.db").touch()
    assert run_folder(["front"], resume=False) == Path("runs/front-2")


def test_several_budgets_are_no_single_search(folder: Path) -> None:
    several = options(budget="2ms,4ms")
    with pytest.raises(OptionError, match=r"^budget: asks for several searches"):
        make_request(task(), several)
    assert first_request(task(), several).budget == ("2ms",)
