"""Our agents in other people's Tune scripts: what they find is what they find in our own loop."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray import tune

import automl
from automl.agents import AGENTS
from automl.errors import SpaceError, StudyError, UsageError
from automl.policy import Policy
from automl.study import Agent, Completed, Failed, Infeasible, Problem, Trial, connected
from automl.sweep import AgentSearcher
from automl.sweep.agent_searcher import POLICY
from automl.testing.agents import made_problem, sensitivity_of

# Ray's own code is not as strict as ours.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
PROBLEM = made_problem(9, seed=1)
#: What makes a searcher that is ready.
AIM = {"metric": "score", "mode": "max"}


def additive(policy: Policy) -> float:
    """A score without a network."""
    return -sensitivity_of(PROBLEM, policy)


def told(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    """What does not depend on the clock."""
    return [(each.number, each.policy, each.state, getattr(each, "score", None)) for each in trials]


def drive(
    searcher: AgentSearcher,
    report: Callable[[Policy], dict[str, Any] | None] = lambda policy: {"score": additive(policy)},
    *,
    places: int = 4,
    trials: int = 10_000,
) -> list[Policy]:
    """Do what Tune does, with answers in any order; the policies that were trials."""
    generator, running, seen = random.Random(0), {}, []
    while len(seen) < trials:
        while len(running) < places:
            suggested = searcher.suggest(f"t{len(seen)}")
            if not isinstance(suggested, dict):
                break
            running[f"t{len(seen)}"] = policy = PROBLEM.space.policy(suggested[POLICY])
            seen.append(policy)
        if not running:
            assert suggested == searcher.FINISHED
            break
        name = generator.choice(list(running))
        result = report(running.pop(name))
        searcher.on_trial_complete(name, result=result, error=result is None)
    return seen


#: Of them, haq searches bits, and three-dims resolutions, which these problems lack.
SEARCHING = [name for name in AGENTS.ours if name not in {"haq", "three-dims"}]


@pytest.mark.parametrize("agent", SEARCHING)
def test_any_agent_finds_what_it_finds_in_our_own_loop(agent: str) -> None:
    ours = automl.search_problem(PROBLEM, additive, agent=agent, seed=3, trials=12)
    searcher = AgentSearcher(PROBLEM, agent, 3, trials=12, **AIM)
    policies = drive(searcher)
    assert told(searcher.trials) == told(ours.trials)
    assert len(policies) == len({PROBLEM.space.encode(policy).tobytes() for policy in policies})


def test_what_should_shrink_is_told_negated() -> None:
    more = AgentSearcher(PROBLEM, "amc", trials=16, **AIM)
    less = AgentSearcher(PROBLEM, "amc", trials=16, metric="loss", mode="min")
    drive(more)
    drive(less, lambda policy: {"loss": -additive(policy)})
    assert told(less.trials) == told(more.trials)


def test_a_batch_that_waits_gives_nothing_and_the_end_is_said_once() -> None:
    searcher = AgentSearcher(PROBLEM, "random", trials=9, **AIM)
    for number in range(8):
        assert isinstance(searcher.suggest(str(number)), dict)
    assert searcher.suggest("early") is None
    for number in range(8):
        assert searcher.suggest("early") is None
        searcher.on_trial_complete(str(number), {"score": 0.0})
    assert isinstance(searcher.suggest("8"), dict)  # the ninth
    assert searcher.suggest("late") is None
    searcher.on_trial_complete("8", {"score": 0.0})
    assert searcher.suggest("late") == searcher.FINISHED
    assert len(searcher.trials) == 9


def test_batches_are_made_up_for_the_places_that_tune_has() -> None:
    searcher = AgentSearcher(PROBLEM, "random", **AIM)
    tune.search.ConcurrencyLimiter(searcher, max_concurrent=5)
    assert [isinstance(searcher.suggest(str(n)), dict) for n in range(11)] == [True] * 10 + [False]


def test_trials_without_a_number_have_failed() -> None:
    answers: list[dict[str, Any] | None] = [
        {"score": 1.0},
        None,
        {},
        {"score": float("nan")},
        {"score": "much"},
    ]
    reports = iter(answers)
    searcher = AgentSearcher(PROBLEM, "random", trials=5, **AIM)
    drive(searcher, lambda policy: next(reports), places=1)
    assert isinstance(searcher.trials[0], Completed)
    reasons = [each.reason for each in searcher.trials if isinstance(each, Failed)]
    assert reasons == [
        "Tune's trial failed",
        "the score is None",
        "the score is nan",
        "the score is much",
    ]
    searcher.on_trial_complete("t1", {"score": 9.0})  # which Tune starts anew when it restores
    assert len(searcher.trials) == 5


class Stubborn(Agent):
    """Proposes one policy twice, and one over the budget."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.told: list[Trial] = []

    def ask(self, count: int) -> list[Policy]:
        cheap = [PROBLEM.space.decode(0 * PROBLEM.space.dense)] * 2
        return [] if len(self.told) > 6 else [*cheap, Policy()]

    def tell(self, trials: Sequence[Trial]) -> None:
        self.told += trials


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "automl.sweep.agent_searcher.make_agent", lambda name, problem, seed, **_: Stubborn(problem)
    )


@pytest.mark.usefixtures("stubborn")
def test_no_trial_of_tunes_is_over_budget_or_scored_before() -> None:
    searcher = AgentSearcher(PROBLEM, "random", **AIM)
    assert len(drive(searcher)) == 1
    assert [type(each) for each in searcher.trials] == [Completed, Completed, Infeasible] * 3


@pytest.mark.usefixtures("stubborn")
def test_a_policy_that_failed_is_scored_again_when_it_is_proposed_again() -> None:
    reports = iter([None, {"score": 1.0}])
    searcher = AgentSearcher(PROBLEM, "random", **AIM)
    assert len(drive(searcher, lambda policy: next(reports))) == 2
    assert [type(each) for each in searcher.trials[:4]] == [
        Failed,
        Completed,
        Infeasible,
        Completed,
    ]


def test_a_saved_searcher_goes_on_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    whole = AgentSearcher(PROBLEM, "amc", trials=24, **AIM)
    drive(whole)
    broken = AgentSearcher(PROBLEM, "amc", trials=24, **AIM)
    drive(broken, places=1, trials=12)  # the twelfth was answered
    assert isinstance(broken.suggest("in flight"), dict)
    broken.save(str(tmp_path / "state"))
    again = AgentSearcher(PROBLEM, "amc", trials=24, **AIM)
    again.restore(str(tmp_path / "state"))
    policy = broken._running["in flight"].policy
    again.on_trial_complete("in flight", {"score": additive(policy)})
    drive(again)
    assert told(again.trials) == told(whole.trials)
    other = AgentSearcher(made_problem(9, seed=2), "amc", trials=24, **AIM)
    with pytest.raises(StudyError, match="is of another prices"):
        other.restore(str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "most"}, "mode 'most': expected 'min' or 'max'"),
        ({"metric": ["a", "b"]}, r"searches by one metric, found \['a', 'b'\]"),
        ({"agent": "amcc"}, "did you mean amc"),
        ({"trials": 0}, "expected a whole number from 1 on, found 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        AgentSearcher(PROBLEM, **given)
    assert "\n" not in str(caught.value)


def test_an_agent_that_cannot_search_the_problem_names_those_that_can() -> None:
    with pytest.raises(SpaceError, match="agents that can search it: lagrangian"):
        AgentSearcher(PROBLEM, "haq")


def test_what_tune_was_told_must_agree() -> None:
    searcher = AgentSearcher(PROBLEM, metric="score", mode="max")
    for metric, mode, config, message in (
        ("accuracy", None, {}, "the metric is 'accuracy' in TuneConfig, 'score' in the searcher"),
        (None, "min", {}, "the mode is 'min' in TuneConfig, 'max' in the searcher"),
        (None, "most", {}, "mode 'most'"),
        (None, None, {"deep": {"lr": tune.uniform(0, 1)}}, "leaves 'deep/lr' open"),
        (None, None, {"lr": tune.grid_search([1, 2])}, "leaves 'lr' open"),
        (None, None, {POLICY: {}}, "has a 'policy'"),
    ):
        with pytest.raises(UsageError, match=message):
            searcher.set_search_properties(metric, mode, config)
    assert searcher.set_search_properties("score", None, {"lr": 0.1}, num_samples=4)


def test_metric_and_mode_come_from_tune_or_are_asked_for() -> None:
    searcher = AgentSearcher(PROBLEM)
    with pytest.raises(UsageError, match="needs a metric"):
        searcher.suggest("a")
    searcher.set_search_properties("score", None, {"lr": 0.1})
    with pytest.raises(UsageError, match="needs a mode"):
        searcher.suggest("a")
    searcher.set_search_properties("score", "max", {"lr": 0.1})
    assert isinstance(searcher.suggest("a"), dict)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with connected("local", 2):
        yield


class Breaker(tune.Callback):
    """Presses Ctrl-C, once, when so many trials have reported."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.left = folder, count

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        self.left -= 1
        if self.left == 0 and not (self.folder / "broken").exists():
            (self.folder / "broken").touch()
            os.kill(os.getpid(), signal.SIGINT)


def sometimes(policy: Policy) -> float:
    """A score that some policies have none of."""
    if sum(policy.channels.values()) % 16 == 0:
        raise ValueError("divisible by sixteen")
    return additive(policy)


@pytest.mark.usefixtures("_ray")
def test_in_tune_it_finds_what_our_own_loop_finds_also_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # they leave files open

    def train(config: dict[str, Any]) -> None:
        name = f"scored-{tune.get_context().get_trial_id()}"
        (tmp_path / name).open("a").write("x")
        tune.report({"score": sometimes(PROBLEM.space.policy(config[POLICY]))})

    ours = automl.search_problem(PROBLEM, sometimes, agent="amc", seed=3, trials=12)
    searcher = AgentSearcher(PROBLEM, "amc", 3, trials=12)
    config = tune.TuneConfig(
        **AIM, search_alg=searcher, num_samples=-1, max_concurrent_trials=2, reuse_actors=True
    )
    run = tune.RunConfig(
        storage_path=str(tmp_path), name="mine", verbose=0, callbacks=[Breaker(tmp_path, 9)]
    )
    tune.Tuner(train, param_space={"lr": 0.1}, tune_config=config, run_config=run).fit()
    assert len(searcher.trials) == 8
    restored = tune.Tuner.restore(str(tmp_path / "mine"), train)
    results = restored.fit()
    assert len(results) == len(list(tmp_path.glob("scored-*"))) == 12
    found = {
        PROBLEM.space.policy(each.config[POLICY]): each.metrics["score"]
        for each in results
        if each.error is None
    }
    completed = [each for each in ours.trials if isinstance(each, Completed)]
    assert found == {each.policy: each.score for each in completed}
    assert results.num_errors == 12 - len(completed) > 0
