from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from bits_problem import BITFUSION, bits_problem
from contract import AgentContract, best, made_problem, run, sensitivity_of

from automl.agents.haq import HaqAgent, HaqSettings
from automl.agents.registry import make_agent
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError, SpaceError
from automl.solver.exact import solve
from automl.space import KINDS
from automl.study.problem import Completed, Problem, Sensitivity
from automl.testing import MADE_UP, with_made_up_kind

#: Learns within a few dozen episodes, in a fraction of the time.
QUICK = HaqSettings(hidden=48, warm_up=10, batch=32, actor_rate=1e-3)


class TestHaq(AgentContract):
    name = "haq"
    options: ClassVar[dict[str, object]] = {"settings": QUICK}
    trials = 16

    def made(self, groups: int, seed: int = 0, share: float = 0.5) -> Problem:
        return bits_problem(groups, seed, share)


class TestHaqFromNothing(TestHaq):
    options: ClassVar[dict[str, object]] = {"settings": QUICK, "warm_start": False}
    trials = 12
    beats_random = False  # with as few trials as this nobody learns


def without_sensitivity(problem: Problem) -> Problem:
    return replace(problem, sensitivity=None)


def test_an_energy_budget_is_like_others() -> None:
    problem = bits_problem(5, options=BITFUSION, quantity="joules", share=0.3)
    trials = run(HaqAgent(problem, settings=QUICK), problem, 10)
    assert max(trial.cost.joules for trial in trials) > 0.25 * problem.costs.dense.joules


def test_several_limits_hold_at_once() -> None:
    problem = bits_problem(8, seed=1, options=BITFUSION, share=0.5)
    both = (*problem.budget.limits, Limit("bytes", 0.45 * problem.costs.dense.bytes))
    run(HaqAgent(replace(problem, budget=Budget(both)), settings=QUICK), problem, 10)


def test_the_replay_holds_what_was_scored() -> None:
    problem = bits_problem(5, seed=2, share=0.3)
    agent = HaqAgent(problem, 1, warm_start=False, settings=QUICK)
    (trial,) = run(agent, problem, 1)
    assert isinstance(trial, Completed)
    bits = [trial.policy.bits[f"l{layer}"] for layer in range(5)]
    middle = {2: 1 / 6, 4: 0.5, 8: 5 / 6}
    realised = [middle[each] for pair in bits for each in (pair.weights, pair.activations)]
    replay = agent.replay
    assert replay.written == 10
    assert replay.actions[:10, 0].tolist() == pytest.approx(realised)
    assert replay.rewards[:10, 0].tolist() == pytest.approx([trial.score] * 10)
    # The last columns of the state: the action before, and whether it is the weights' turn.
    assert replay.states[:10, -2].tolist() == pytest.approx([1.0, *realised[:-1]])
    assert replay.states[:10, -1].tolist() == [1.0, 0.0] * 5


def test_the_first_proposal_is_the_additive_optimum() -> None:
    problem = bits_problem(6, seed=1, options=BITFUSION)
    assert problem.sensitivity is not None
    (policy,) = HaqAgent(problem, settings=QUICK).ask(1)
    least = solve(problem.costs, problem.sensitivity.single, problem.budget)
    assert sensitivity_of(problem, policy) == pytest.approx(least.sensitivity)


def test_channels_are_dense_unless_bits_alone_cannot_meet_the_budget() -> None:
    easy = bits_problem(6, groups=6, share=0.5)
    for trial in run(HaqAgent(easy, settings=QUICK), easy, 10):
        assert set(trial.policy.channels.values()) == {16}
    tight = bits_problem(6, groups=6, share=0.12)
    for sensitivity in (tight, without_sensitivity(tight)):
        channels = {
            tuple(trial.policy.channels.values())
            for trial in run(HaqAgent(sensitivity, settings=QUICK), tight, 10)
        }
        assert len(channels) == 1
        assert min(channels.pop()) < 16


def test_a_kind_it_does_not_know_stays_dense_even_where_bits_alone_cannot_meet_the_budget() -> None:
    with KINDS.including(MADE_UP):
        base = bits_problem(6, groups=6, share=0.12)
        problem = with_made_up_kind(base)
        agent = HaqAgent(problem, settings=QUICK)
        assert agent.held == ("made-up",)  # channels had to go
        done = run(agent, problem, 4)
        assert done
        for trial in done:
            assert trial.policy.further == {"made-up": {"part": "dense"}}
            assert min(trial.policy.channels.values()) < 16


def test_what_cannot_be_met_is_refused_with_the_least() -> None:
    with pytest.raises(InfeasibleError, match="the least is"):
        make_agent("haq", bits_problem(4, share=1e-4))


def test_a_space_without_bits_is_refused_with_what_would_serve() -> None:
    with pytest.raises(SpaceError, match=r"this space offers none.*lagrangian"):
        make_agent("haq", made_problem(4))


def test_it_learns_from_nothing_to_near_the_known_optimum() -> None:
    problem = bits_problem(8, seed=5, share=0.4)
    assert problem.sensitivity is not None
    least = solve(problem.costs, problem.sensitivity.single, problem.budget)
    assert least.proven
    trials = run(HaqAgent(problem, 5, warm_start=False, settings=QUICK), problem, 80)
    scores = [trial.score for trial in trials if isinstance(trial, Completed)]
    by_chance, learned = np.mean(scores[: QUICK.warm_up]), np.mean(scores[-30:])
    assert learned > by_chance + 0.3 * (-least.sensitivity - by_chance)
    assert -least.sensitivity - best(trials) < 0.1 * (-least.sensitivity - by_chance)


def test_a_warm_start_that_is_off_is_improved_on() -> None:
    truth = bits_problem(12, seed=3, options=BITFUSION, share=0.4)
    assert truth.sensitivity is not None
    generator = np.random.default_rng(3)
    sensitivity = tuple(each * generator.lognormal(0.0, 1.0) for each in truth.sensitivity.single)
    mistaken = replace(truth, sensitivity=Sensitivity(sensitivity, images=1))
    trials = run(HaqAgent(mistaken, 3, settings=QUICK), truth, 50)
    rival = run(make_agent("random", mistaken, 3), truth, 50)
    assert best(trials) > best(trials[:1])
    assert best(trials) > best(rival)
