"""Searches on this machine end within their budget by its clock, or say that they do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from board import Board, board_of
from tiny import request

from automl import pipeline
from automl.cost import Budget
from automl.errors import StudyError
from automl.pipeline import measure_loop, on_the_clock, results, searching
from automl.pipeline.on_the_clock import FILE, ROUNDS, ClockRounds, over_on_the_clock
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.requests import OnEvent, SearchRequest
from automl.policy import Policy
from automl.study import Completed, Known, StudyResult

Clock = Callable[[float], float]
#: What the policy that is found first just meets, by the board's formula.
BUDGET = "54%"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Clock], list[float]]:
    """Makes a table's target this machine, whose clock turns predicted into measured shares."""

    def tells(share: Clock) -> list[float]:
        timed: list[float] = []
        price = searching.price_request

        def priced(asked: SearchRequest, on_event: OnEvent) -> PricedNetwork:
            return replace(price(asked, on_event), here=True)

        def time_policy(network: PricedNetwork, policy: Policy, _: int) -> dict[str, float]:
            dense = network.costs.dense.latency
            timed.append(share(network.costs.cost(policy).latency / dense))
            return {"dense": 7.0, "compressed": 7.0 * timed[-1]}

        monkeypatch.setattr(searching, "price_request", priced)
        monkeypatch.setattr(on_the_clock, "time_policy", time_policy)
        monkeypatch.setattr(results, "time_here", lambda *_: {})
        return timed

    return tells


@pytest.fixture(autouse=True)
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """The target my-board."""
    return board_of(tmp_path, monkeypatch)


def asked(out: Path) -> SearchRequest:
    return request("my-board", out, BUDGET, measure=True)


@pytest.mark.parametrize("slow", [1.25, 0.8])
def test_the_search_goes_on_until_the_clock_agrees(
    slow: float, tmp_path: Path, clock: Callable[[Clock], list[float]]
) -> None:
    timed = clock(lambda share: slow * share)
    result = pipeline.search(asked(tmp_path / "run"))
    assert (timed[0] > 0.54) == (slow > 1)
    assert timed[-1] <= 0.54 * 1.02
    factor = float((tmp_path / "run" / FILE).read_text())
    assert (factor < 1) == (slow > 1)
    assert any(f"held to {100 * factor:.1f} % of it" in note for note in result.notes)
    assert result.compressed.predicted_seconds is not None
    assert result.dense.predicted_seconds is not None
    share = result.compressed.predicted_seconds / result.dense.predicted_seconds
    assert share == pytest.approx(timed[-1] / slow)


def test_a_clock_that_agrees_ends_the_search_at_once(
    tmp_path: Path, clock: Callable[[Clock], list[float]]
) -> None:
    timed = clock(lambda share: 1.01 * share)
    pipeline.search(asked(tmp_path / "run"))
    assert len(timed) == 1
    assert not (tmp_path / "run" / FILE).exists()


def test_the_limit_is_corrected_before_policies_are_scored(
    tmp_path: Path, clock: Callable[[Clock], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = clock(lambda share: 1.25 * share)
    held: list[Budget] = []
    run = measure_loop.run_agent
    monkeypatch.setattr(
        measure_loop, "run_agent", lambda *args: (held.append(args[1]), run(*args))[1]
    )
    result = pipeline.search(asked(tmp_path / "run"))
    assert len(held) == 1
    assert timed[0] == pytest.approx(1.25 * 0.54, rel=0.05)
    assert result.compressed.predicted_seconds is not None
    assert held[0].limits[0].value >= result.compressed.predicted_seconds


def test_measuring_before_a_study_takes_none_of_its_time(tmp_path: Path) -> None:
    rounds = ClockRounds(replace(asked(tmp_path / "run"), time=0.05), Budget(()))
    time.sleep(0.06)  # operators are measured
    assert rounds.request.seconds == 0.05
    time.sleep(0.06)  # a study takes all, and is repeated for prices that changed
    assert rounds.request.seconds == 0.05


def test_what_the_clock_never_allows_ends_with_the_best_that_is_predicted_within(
    tmp_path: Path, clock: Callable[[Clock], list[float]]
) -> None:
    timed = clock(lambda share: 50 * share)
    result = pipeline.search(asked(tmp_path / "run"))
    assert len(timed) == 2  # one policy, twice
    assert result.trials


def test_a_clock_that_never_settles_is_asked_so_often(
    tmp_path: Path, clock: Callable[[Clock], list[float]]
) -> None:
    timed = clock(lambda _: 0.58)  # whatever is searched for
    pipeline.search(asked(tmp_path / "run"))
    assert len(timed) == 2 * (2 + ROUNDS)  # twice each, the first of them before any study


def test_one_timing_that_was_disturbed_costs_no_study(
    tmp_path: Path, clock: Callable[[Clock], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = iter([1.04])
    timed = clock(lambda share: next(disturbed, 0.99) * share)
    studies: list[Budget] = []
    run = measure_loop.run_agent
    monkeypatch.setattr(
        measure_loop, "run_agent", lambda *args: (studies.append(args[1]), run(*args))[1]
    )
    pipeline.search(asked(tmp_path / "run"))
    assert len(timed) == 2
    assert len(studies) == 1
    assert not (tmp_path / "run" / FILE).exists()


def test_after_a_limit_that_was_raised_too_far_the_one_within_is_taken(
    tmp_path: Path, clock: Callable[[Clock], list[float]]
) -> None:
    timed = clock(lambda share: 0.3 if share <= 0.54 else 0.9)
    result = pipeline.search(asked(tmp_path / "run"))
    assert max(timed) == 0.9
    assert result.compressed.predicted_seconds is not None
    assert result.dense.predicted_seconds is not None
    assert result.compressed.predicted_seconds / result.dense.predicted_seconds <= 0.54


def test_a_search_goes_on_with_the_limit_that_it_had_come_to(
    tmp_path: Path, clock: Callable[[Clock], list[float]]
) -> None:
    timed = clock(lambda share: 1.25 * share)
    first = asked(tmp_path / "run")
    found = pipeline.search(first)
    timed.clear()
    again = pipeline.search(replace(first, resume=True))
    assert again.policy.channels == found.policy.channels
    assert len(timed) == 1


def test_a_study_within_a_corrected_limit_knows_what_was_scored_before(
    tmp_path: Path, clock: Callable[[Clock], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(lambda _: 0.58)  # whatever is searched for
    studies: list[StudyResult] = []
    known: list[tuple[Known, ...]] = []
    run = measure_loop.run_agent

    def run_agent(*args: Any) -> StudyResult:
        known.append(args[-1])
        studies.append(run(*args))
        return studies[-1]

    monkeypatch.setattr(measure_loop, "run_agent", run_agent)
    first = asked(tmp_path / "run")
    pipeline.search(first)
    assert known[0] == ()
    scored = {each.policy: each.score for each in studies[0].trials if isinstance(each, Completed)}
    assert {each.policy: each.score for each in known[1]} == scored
    ended = list(studies)
    pipeline.search(replace(first, resume=True))
    assert known[-1] == known[len(ended) - 1]
    again = [trial.policy for trial in studies[-1].trials]
    assert again == [trial.policy for trial in ended[-1].trials]


@pytest.mark.parametrize("text", ["", "fast", "nan", "-1", "1e9"])
def test_a_limit_that_cannot_be_read_is_refused(
    text: str, tmp_path: Path, clock: Callable[[Clock], list[float]]
) -> None:
    clock(lambda share: share)
    first = asked(tmp_path / "run")
    pipeline.search(first)
    (tmp_path / "run" / FILE).write_text(text)
    with pytest.raises(StudyError, match=f"{FILE}.*delete it"):
        pipeline.search(replace(first, resume=True))


def test_a_budget_that_the_clock_misses_is_said_so() -> None:
    times = {"dense": 2e-3, "compressed": 1.05e-3}
    assert over_on_the_clock(("1.06ms", "1MMACs"), times) == ()
    assert over_on_the_clock(("1ms",), {}) == ()
    assert over_on_the_clock(("1MMACs",), times) == ()
    (said,) = over_on_the_clock(("1MMACs", "1ms"), times)
    assert "5.0 % over the budget of 1ms" in said


def test_a_share_of_the_latency_is_one_on_the_clock() -> None:
    times = {"dense": 2e-3, "compressed": 1.05e-3}
    assert over_on_the_clock(("53%",), times) == ()
    (said,) = over_on_the_clock(("0.5x",), times)
    assert "5.0 % over the budget of 0.5x" in said
