import numpy as np
import pytest
from contract import AgentContract, best, made_problem, run, trial

from automl.agents.greedy import WIDTH
from automl.agents.registry import make_agent
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError
from automl.study.problem import Problem


class TestGreedy(AgentContract):
    name = "greedy"


def test_it_ends_by_itself_and_the_last_step_meets_the_budget() -> None:
    problem = made_problem(12, seed=1)
    trials = run(make_agent("greedy", problem), problem, 10_000)
    assert WIDTH < len(trials) < 10_000


def test_scores_steer_it() -> None:
    """With a score that loves one group, that group is the last to be lowered."""
    problem = made_problem(8, seed=2, blocks=False)
    agent = make_agent("greedy", problem)
    kept = []
    while policies := agent.ask(8):
        told = [
            trial(problem, number, policy, float(policy.channels["g3"]))
            for number, policy in enumerate(policies)
        ]
        kept += [policy.channels["g3"] for policy in policies]
        agent.tell(told)
    assert max(kept) == 4


def test_no_sensitivity_is_needed() -> None:
    problem = made_problem(10, seed=3)
    bare = Problem(problem.space, problem.costs, problem.budget)
    assert best(run(make_agent("greedy", problem), problem, 40)) < 0.0
    (policy,) = make_agent("greedy", bare).ask(1)
    assert bare.budget.allows(bare.costs.cost(policy))


def test_a_budget_that_the_dense_network_meets() -> None:
    problem = made_problem(6, seed=4, share=1.0)
    agent = make_agent("greedy", problem)
    (policy,) = agent.ask(8)
    assert np.array_equal(problem.space.encode(policy), problem.space.dense)
    agent.tell([trial(problem, 0, policy, 1.0)])
    assert agent.ask(8) == []


def test_an_impossible_budget_is_refused() -> None:
    problem = made_problem(6, seed=5)
    tight = Budget((Limit("latency", 1e-9),))
    with pytest.raises(InfeasibleError, match="the least is"):
        make_agent("greedy", Problem(problem.space, problem.costs, tight))
