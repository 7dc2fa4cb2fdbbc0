from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from contract import AgentContract, best, made_problem, run, sensitivity_of

from automl.agents.amc import AmcAgent, AmcSettings
from automl.agents.registry import make_agent
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError, SpaceError
from automl.solver.exact import solve
from automl.space import Space, Variable
from automl.study.problem import Completed, Sensitivity

#: Learns within a few dozen episodes, in a fraction of the time.
QUICK = AmcSettings(hidden=64, warm_up=60, actor_rate=1e-3)


class TestAmc(AgentContract):
    name = "amc"
    options: ClassVar[dict[str, object]] = {"settings": replace(QUICK, warm_up=12)}
    trials = 20


class TestAmcFromNothing(AgentContract):
    name = "amc"
    options: ClassVar[dict[str, object]] = {
        "settings": replace(QUICK, warm_up=12),
        "warm_start": False,
    }
    trials = 16
    beats_random = False  # with as few trials as this nobody learns


def test_what_cannot_be_met_is_refused_at_once() -> None:
    problem = made_problem(4)
    tight = replace(problem, budget=Budget((Limit("latency", 1e-9),)))
    with pytest.raises(InfeasibleError, match="the least is"):
        make_agent("amc", tight)


def test_the_first_proposal_is_the_additive_optimum_and_the_first_in_the_replay() -> None:
    problem = made_problem(8, seed=1)
    assert problem.sensitivity is not None
    agent = AmcAgent(problem, 3, settings=QUICK)
    (trial,) = run(agent, problem, 1)
    least = solve(problem.costs, problem.sensitivity.single, problem.budget)
    assert sensitivity_of(problem, trial.policy) == pytest.approx(least.sensitivity)
    assert agent.replay.written == len(agent.env.replay(least.vector).actions)
    assert float(agent.replay.rewards[0]) == pytest.approx(-least.sensitivity)


def test_a_warm_start_that_is_off_is_improved_on() -> None:
    truth = made_problem(12, seed=21)
    assert truth.sensitivity is not None
    generator = np.random.default_rng(1)
    sensitivity = tuple(each * generator.lognormal(0.0, 1.0) for each in truth.sensitivity.single)
    mistaken = replace(truth, sensitivity=Sensitivity(sensitivity, images=1))
    trials = run(AmcAgent(mistaken, 1, settings=QUICK), truth, 60)
    rival = run(make_agent("random", mistaken, 1), truth, 60)
    assert best(trials) > best(trials[:1])
    assert best(trials) > best(rival)


def test_the_replay_holds_what_was_realised() -> None:
    problem = made_problem(6, seed=2, share=0.3)
    agent = AmcAgent(problem, 1, warm_start=False, settings=QUICK)
    (trial,) = run(agent, problem, 1)
    assert isinstance(trial, Completed)
    vector = problem.space.encode(trial.policy)
    env = agent.env
    removed = {
        inner for gate, inners in problem.space.nested if not vector[gate] for inner in inners
    }
    options = {"block": (0.0, 1.0), "channels": (0.25, 0.5, 0.75, 1.0)}
    realised = [
        options[problem.space.variables[variable].kind][vector[variable]]
        for variable in env.order
        if variable not in removed
    ]
    steps = len(realised)
    assert agent.replay.written == steps
    assert agent.replay.actions[:steps, 0].tolist() == realised
    assert agent.replay.rewards[:steps, 0].tolist() == pytest.approx([trial.score] * steps)
    assert agent.replay.goes_on[:steps, 0].tolist() == [1.0] * (steps - 1) + [0.0]
    # The last column of the state is the action before, 1 at the start.
    assert agent.replay.states[:steps, -1].tolist() == [1.0, *realised[:-1]]


def test_a_space_without_channels_is_refused_with_what_would_serve() -> None:
    problem = made_problem(4)
    space = Space((Variable("block", "b", (0, 1)),))
    with pytest.raises(SpaceError, match=r"has none; agents that can search it: lagrangian"):
        make_agent("amc", replace(problem, space=space))


@pytest.mark.parametrize("seed", [5, 6])
def test_it_learns_from_nothing_to_near_the_known_optimum(seed: int) -> None:
    problem = made_problem(10, seed=seed, blocks=False)
    assert problem.sensitivity is not None
    least = solve(problem.costs, problem.sensitivity.single, problem.budget).sensitivity
    agent = AmcAgent(problem, seed, warm_start=False, settings=QUICK)
    trials = run(agent, problem, 130)
    early, late = trials[: QUICK.warm_up], trials[-30:]
    by_chance = np.mean([-sensitivity_of(problem, trial.policy) for trial in early])
    learned = np.mean([-sensitivity_of(problem, trial.policy) for trial in late])
    assert learned > by_chance + 0.3 * (-least - by_chance)
    assert best(late) > best(early)
    assert -least - best(trials) < 0.1 * (-least - by_chance)
