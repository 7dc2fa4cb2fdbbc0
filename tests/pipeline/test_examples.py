"""Which example is searched: the first that the budget bites on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from automl.errors import UsageError
from automl.options import SearchOptions
from automl.pipeline import choose_example, examples
from automl.pipeline.requests import Event


def options(*budget: str, target: str = "jetson") -> SearchOptions:
    return SearchOptions(target=target, budget=budget)


def test_the_first_that_does_not_meet_the_budget_is_chosen_and_it_is_said() -> None:
    events: list[Event] = []
    choice = choose_example(options("10ms"), events.append)
    assert choice.example.name == "denoiser"
    (note,) = choice.notes
    assert note.startswith("the classifier (0.")
    assert note.endswith(" ms fitted) meets 10ms as it is: the denoiser is searched")
    assert [event.done for event in events if event.stage == "choosing an example"] == [0, 1]


@pytest.mark.parametrize("budget", [("0.1ms",), ("500kB",), ("10ms", "500kB"), ("5ms,0.1ms",)])
def test_the_usual_one_is_chosen_where_it_exceeds_a_limit(budget: tuple[str, ...]) -> None:
    choice = choose_example(options(*budget))
    assert (choice.example.name, choice.notes) == ("classifier", ())


def test_where_all_meet_the_budget_it_is_the_usual_one() -> None:
    choice = choose_example(options("10s"))
    assert (choice.example.name, choice.notes) == ("classifier", ())


@pytest.mark.parametrize("budget", [("50%",), ("10ms", "0.9x"), ("10ms,50%",), ("80%MACs",)])
def test_a_share_of_the_dense_cost_is_met_by_none_and_nothing_is_loaded(
    budget: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(examples, "load_model", refuse)
    assert choose_example(options(*budget)).example.name == "classifier"


def test_work_and_size_are_told_beside_the_time() -> None:
    (note,) = choose_example(options("10ms", "40MMACs", "2MB")).notes
    assert "ms fitted, 36.1 MMACs, 687 kB) meets 10ms and 40MMACs and 2MB as it is" in note


def test_on_this_machine_whole_networks_are_measured_and_no_operators(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    times = iter((0.0005, 0.6))
    monkeypatch.setattr(examples, "measure_here", lambda *_: {"dense": next(times)})
    choice = choose_example(options("10ms", target="cpu"))
    assert choice.example.name == "denoiser"
    assert choice.notes[0].startswith("the classifier (0.5 ms) meets 10ms")
    (table,) = tmp_path.rglob("*.jsonl")
    assert len(table.read_text().splitlines()) == 1  # its header


def test_a_limit_that_the_target_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="write 10ms"):
        choose_example(options("5Mcycles"))
