"""From a context and a budget to a result: the study, its options, and the way to the solver."""

from __future__ import annotations

import copy
import dataclasses
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from test_searching import labelled
from tiny import batches, request, tiny_network, write_table

from automl.agents import lagrangian
from automl.agents.registry import make_agent
from automl.cli.main import run
from automl.cost import Cost
from automl.errors import DataError, StudyError
from automl.latency.keys import op_key
from automl.latency.table import LatencyTable
from automl.pipeline import context as contexts
from automl.pipeline import (
    make_context,
    price_request,
    reachable_budget,
    run_search,
    search,
)
from automl.pipeline.ownership import open_run
from automl.pipeline.requests import SearchRequest, ignore
from automl.pipeline.running import best_of
from automl.policy.policy import Policy
from automl.solver import solve
from automl.study.loop import StudyResult
from automl.study.problem import Agent, Failed, Infeasible, Trial


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "board.jsonl")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)


def test_one_context_is_searched_within_two_budgets(board: Path, tmp_path: Path) -> None:
    asked = request(board, tmp_path / "all", "60%")
    network = price_request(asked, ignore)
    context = make_context(network, asked, ignore)
    results = []
    for text in ("60%", "80%"):
        one = dataclasses.replace(asked, budget=(text,), out=tmp_path / text)
        budget = reachable_budget(network, one.budget)
        with open_run(one, ignore) as log:
            results.append(run_search(context, budget, one, log))
        assert results[-1].policy.budget == (text,)
        predicted = results[-1].compressed.predicted_seconds
        assert predicted is not None
        assert predicted <= budget.limits[0].value
    alone = search(dataclasses.replace(asked, out=tmp_path / "alone"))
    assert alone.policy.policy == results[0].policy.policy
    assert alone.compressed == results[0].compressed


OURS = str(Path(contexts.__file__).parents[1])


def calls(frame: FrameType | None) -> list[str]:
    """Functions of the package that are running, outermost first."""
    names = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            names.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return names[::-1]


def test_the_solver_is_at_most_eight_calls_from_the_command(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a budget can be met, and the agent's first policy."""
    seen: list[list[str]] = []

    def watched(*args: Any, **options: Any) -> Any:
        seen.append([*calls(sys._getframe(1)), "solve"])
        return solve(*args, **options)

    monkeypatch.setattr(contexts, "solve", watched)
    monkeypatch.setattr(lagrangian, "solve", watched)
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).with_name("tiny.py")
    words = ["--target", str(board), "--budget", "60%", "--trials", "1", "--resolutions", "16"]
    user = ["--model", f"{source}:model", "--data", f"{source}:loaders", "--score"]
    monkeypatch.setattr(sys, "argv", ["automl", "search", *words, *user, f"{source}:agreement"])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 0
    feasibility, study = seen[0], seen[1]
    assert study[-2:] == ["LagrangianAgent.ask", "solve"]
    assert feasibility[-2:] == ["reachable_budget", "solve"]
    for way in (feasibility, study):
        assert way[0] == "run"  # of automl.cli.main, which calls the command
        assert len(way[1:]) <= 8, way


def test_a_cold_start_is_another_search(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    def counted(*args: Any, **options: Any) -> Agent:
        told.append(options)
        return make_agent(*args, **options)

    monkeypatch.setattr("automl.pipeline.running.make_agent", counted)
    cold = request(board, tmp_path / "run", "60%", agent="optuna-tpe", warm_start=False, trials=1)
    search(cold)
    assert search(dataclasses.replace(cold, trials=2, resume=True)).trials == 2
    with pytest.raises(StudyError, match="another options: 'warm_start=False', this search 'warm"):
        search(dataclasses.replace(cold, warm_start=True, resume=True))
    search(request(board, tmp_path / "uniform", "60%", agent="uniform"))
    assert told == [{"warm_start": False}, {"warm_start": False}, {"warm_start": True}, {}]


def _retrained(asked: SearchRequest, tmp_path: Path) -> SearchRequest:
    other = copy.deepcopy(asked.task.model)
    other.get_parameter("head.weight").data.mul_(0.9)
    return dataclasses.replace(asked, task=dataclasses.replace(asked.task, model=other))


def _other_data(asked: SearchRequest, tmp_path: Path) -> SearchRequest:
    data = dataclasses.replace(asked.task.data, validation=batches(9, 5, 1))
    return dataclasses.replace(asked, task=dataclasses.replace(asked.task, data=data))


def _other_prices(asked: SearchRequest, tmp_path: Path) -> SearchRequest:
    """The dense network costs the same, so the budget is the same; a choice is dearer."""
    table = LatencyTable.read(Path(asked.target))
    dense = {op_key(layer, "fp32") for layer in tiny_network().layers}
    rows = [
        r if r.key in dense else dataclasses.replace(r, seconds=2 * r.seconds) for r in table.rows
    ]
    LatencyTable.create(tmp_path / "dearer.jsonl", table.header, rows)
    return dataclasses.replace(asked, target=str(tmp_path / "dearer.jsonl"))


def _other_options(asked: SearchRequest, tmp_path: Path) -> SearchRequest:
    return dataclasses.replace(asked, round_to=8)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (_retrained, "is of other weights"),
        (_other_data, "is of other data"),
        (_other_prices, "is of other prices"),
        (_other_options, "is of other space"),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_study_is_not_resumed_by_a_search_of_something_else(
    changed: Callable[[SearchRequest, Path], SearchRequest],
    named: str,
    shared: bool,
    board: Path,
    tmp_path: Path,
) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}" if shared else None
    asked = request(board, tmp_path / "run", "60%", agent="random", trials=1, storage=storage)
    search(asked)
    with pytest.raises(StudyError, match=named):
        search(dataclasses.replace(changed(asked, tmp_path), resume=True))
    assert search(dataclasses.replace(asked, resume=True)).trials == 1


def test_full_scores_are_another_search(board: Path, tmp_path: Path) -> None:
    asked = request(board, tmp_path / "run", "60%", trials=2, task=labelled(wrong=1))
    search(asked)
    with pytest.raises(StudyError, match=r"another score: '(.*)', this search '\1, in full'"):
        search(dataclasses.replace(asked, resume=True, full_scores=True))


DEAR = Infeasible(0, Policy(), Cost(1.0, 1.0, 1.0), 0.0)
BROKEN = Failed(1, Policy(), Cost(1.0, 1.0, 1.0), 0.1, "SystemExit: no more")


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ((), "none was proposed, or the time was over before the first"),
        ((DEAR,), "of 1 that the agent proposed none is within the budget"),
        ((DEAR, BROKEN), "1 of 2 trials failed; the first: SystemExit: no more"),
    ],
)
def test_a_study_without_a_scored_policy_says_what_came_of_those_proposed(
    trials: tuple[Trial, ...], said: str
) -> None:
    with pytest.raises(StudyError) as error:
        best_of(StudyResult(trials, None, ()))
    assert str(error.value) == f"no policy was scored: {said}"


def test_a_study_that_was_ended_before_its_first_score_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt):
        best_of(StudyResult((), None, (), interrupted=True))


def test_without_a_number_of_trials_the_agents_own_is_taken(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.runs.default_trials", {"random": 3}.get)
    asked = request(board, tmp_path / "run", "60%", agent="random", trials=None)
    assert search(asked).trials == 3


def test_a_score_that_workers_cannot_be_sent_is_named_before_the_network_is_read(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = threading.Lock()

    def mine(model: object, data: object) -> float:
        return float(lock.locked())

    asked = request(board, tmp_path / "run", "60%")
    task = dataclasses.replace(asked.task, score=mine, score_name="mine.py:mine")
    monkeypatch.setattr("automl.pipeline.searching.price_request", lambda *_: pytest.fail("late"))
    said = "the score mine.py:mine cannot be sent to workers: .*lock"
    with pytest.raises(DataError, match=said):
        search(dataclasses.replace(asked, task=task, workers=2))
