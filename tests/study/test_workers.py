"""Pools: what comes of a policy, and a study that is scored as by several workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from automl.agents import make_agent
from automl.cost import Cost
from automl.errors import DataError
from automl.interrupts import endable
from automl.policy.policy import Policy
from automl.study import loop
from automl.study.loop import StudyResult, StudySettings, batch_size, look_ahead, run_study
from automl.study.problem import Completed, Evaluation, Failed
from automl.study.workers import Answer, LocalPool, Scored, Unscored, score_policy
from automl.testing.agents import made_problem, sensitivity_of

PROBLEM = made_problem(9, seed=1)


class Races:
    """Sensitivity for a score, given up where it is far behind; remembers who raced whom."""

    def __init__(self) -> None:
        self.raced: list[tuple[Policy, Policy | None]] = []

    def __call__(self, policy: Policy) -> float:
        return self.evaluate_against(policy, None).score

    def evaluate_against(self, policy: Policy, incumbent: Policy | None) -> Evaluation:
        self.raced.append((policy, incumbent))
        score = -sensitivity_of(PROBLEM, policy)
        rival = score if incumbent is None else -sensitivity_of(PROBLEM, incumbent)
        return Evaluation(score, 200) if score >= rival else Evaluation(0.9 * score, 64)


class Backwards(LocalPool):
    """Scores in another order than that of the asks, as quick and slow workers do."""

    def __init__(self, evaluate: Races, workers: int) -> None:
        super().__init__(evaluate, workers)
        self.answers: dict[int, Answer] = {}

    def answer(self, ticket: int) -> Answer:
        for other in sorted(self._started, reverse=True):
            self.answers[other] = super().answer(other)
        return self.answers.pop(ticket)


def study(pool: LocalPool, agent: str = "random", **settings: object) -> StudyResult:
    chosen = replace(StudySettings(trials=24, seed=3), **settings)  # type: ignore[arg-type]
    return run_study(PROBLEM, make_agent(agent, PROBLEM, 3), pool, chosen)


def told(result: StudyResult) -> list[object]:
    """All of the trials but their times."""
    free = Cost(*[0.0] * len(fields(Cost)))  # prices that are no number equal nothing
    return [replace(trial, seconds=0.0, cost=free) for trial in result.trials]


def says_why(policy: Policy) -> float:
    raise DataError("score mine.py:mine failed: ValueError: no more (mine.py:7)")


@pytest.mark.parametrize(
    ("evaluate", "reason"),
    [
        (says_why, "score mine.py:mine failed: ValueError: no more (mine.py:7)"),
        (lambda policy: float("nan"), "the score is nan"),
        (lambda policy: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda policy: sys.exit("no more"), "it called sys.exit('no more')"),
    ],
)
def test_what_has_no_score_has_a_reason(evaluate: Callable[[Policy], float], reason: str) -> None:
    answer = score_policy(evaluate, Policy({}), None)
    assert isinstance(answer, Unscored)
    assert answer.reason.partition(" (/")[0] == reason


def test_a_score_that_hangs_is_given_up() -> None:
    with endable(lambda error: None):
        answer = score_policy(lambda policy: time.sleep(600) or 0.0, Policy({}), None, 0.05)
        assert isinstance(answer, Unscored)
        assert answer.reason.startswith("it took more than 0.05 s (")
        pool = LocalPool(lambda policy: time.sleep(600) or 0.0, seconds=0.05)
        assert isinstance(pool.answer(pool.start(Policy({}), None)), Unscored)


def interrupting(policy: Policy) -> float:
    raise KeyboardInterrupt


def test_who_interrupts_by_itself_has_no_score() -> None:
    with endable(lambda error: None):
        answer = score_policy(interrupting, Policy({}), None)
        assert isinstance(answer, Unscored)
        assert answer.reason.startswith("it raised KeyboardInterrupt by itself (")
    with pytest.raises(KeyboardInterrupt):
        score_policy(interrupting, Policy({}), None)


def test_a_score_comes_with_its_images_where_they_are_known() -> None:
    policy = PROBLEM.space.decode(PROBLEM.space.dense)
    plain = score_policy(lambda policy: 0.25, policy, None)
    assert isinstance(plain, Scored)
    assert (plain.score, plain.images) == (0.25, None)
    raced = score_policy(Races(), policy, policy)
    assert isinstance(raced, Scored)
    assert (raced.score, raced.images) == (0.0, 200)


def test_what_was_dropped_is_not_scored() -> None:
    races = Races()
    pool = LocalPool(races)
    first, second = PROBLEM.space.dense.copy(), PROBLEM.space.dense.copy()
    second[0] = 0
    pool.start(PROBLEM.space.decode(first), None)
    pool.drop()
    ticket = pool.start(PROBLEM.space.decode(second), None)
    assert isinstance(pool.answer(ticket), Scored)
    assert len(races.raced) == 1


def test_one_worker_races_each_candidate_against_the_best_of_all_before() -> None:
    races = Races()
    result = study(LocalPool(races))
    best = None
    for trial, (policy, incumbent) in zip(result.trials, races.raced, strict=True):
        assert (policy, incumbent) == (trial.policy, best and best.policy)
        assert isinstance(trial, Completed)
        best = trial if best is None or trial.score > best.score else best


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_who_is_raced_against_whom_depends_on_numbers_and_not_on_who_is_faster(
    workers: int,
) -> None:
    races, backwards = Races(), Races()
    result = study(LocalPool(races, workers))
    assert told(study(Backwards(backwards, workers))) == told(result)
    assert sorted(map(str, backwards.raced)) == sorted(map(str, races.raced))
    size, window = batch_size(workers), look_ahead(workers)
    for number, (_, incumbent) in enumerate(races.raced):
        known = result.trials[: max(number - number % size, number - window + 1)]
        scored = [trial for trial in known if isinstance(trial, Completed)]
        best = max(scored, key=lambda trial: trial.score, default=None)
        assert incumbent == (best and best.policy)


@pytest.mark.parametrize("workers", [2, 4, 8])
@pytest.mark.parametrize("agent", ["random", "amc", "optuna-tpe"])
def test_without_early_stopping_workers_that_share_a_batch_find_what_one_finds(
    agent: str, workers: int
) -> None:
    alone = study(LocalPool(Races()), agent, full_scores=True)
    assert told(study(LocalPool(Races(), workers), agent, full_scores=True)) == told(alone)


def test_a_batch_leaves_no_worker_out() -> None:
    assert [batch_size(workers) for workers in (1, 2, 3, 5, 8, 12)] == [8, 8, 9, 10, 8, 12]


@pytest.mark.parametrize("broken_after", [3, 9, 13])
def test_a_study_of_several_workers_that_was_broken_ends_as_an_unbroken_one(
    tmp_path: Path, broken_after: int
) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    unbroken = study(LocalPool(Races(), 3))
    seen: list[object] = []

    def end(trial: object, _: object) -> None:
        seen.append(trial)
        if len(seen) == broken_after:
            raise KeyboardInterrupt

    settings = StudySettings(trials=24, seed=3, storage_url=storage)
    agent = make_agent("random", PROBLEM, 3)
    broken = run_study(PROBLEM, agent, LocalPool(Races(), 3), settings, end)
    assert broken.interrupted
    races = Races()
    resumed = study(LocalPool(races, 3), storage_url=storage, resume=True)
    assert told(resumed) == told(unbroken)
    assert len(races.raced) == 24 - broken_after


def test_a_policy_that_is_proposed_twice_at_once_is_scored_once_unless_it_failed() -> None:
    policy = PROBLEM.space.decode(PROBLEM.space.dense * 0)

    class Twice:
        full_scores, held = False, ()

        def ask(self, count: int) -> list[Policy]:
            return [policy] * min(count, 3)

        def tell(self, trials: object) -> None: ...

    def run(evaluate: Callable[[Policy], float]) -> StudyResult:
        return run_study(PROBLEM, Twice(), LocalPool(evaluate, 2), StudySettings(trials=3))

    scores = iter([0.5])
    assert [type(trial) for trial in run(lambda _: next(scores)).trials] == [Completed] * 3
    failing = iter([float("nan"), 0.5])
    kinds = [type(trial) for trial in run(lambda _: next(failing)).trials]
    assert kinds == [Failed, Completed, Completed]


def test_nothing_is_started_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    races, now = Races(), [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])

    def tick(*_: object) -> None:
        now[0] += 1.0

    settings = StudySettings(trials=24, seconds=3.0, seed=3)
    result = run_study(
        PROBLEM, make_agent("random", PROBLEM, 3), LocalPool(races, 4), settings, tick
    )
    assert len(result.trials) == len(races.raced) == 3
