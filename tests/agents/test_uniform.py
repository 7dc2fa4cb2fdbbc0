import numpy as np
import pytest
from contract import AgentContract, made_problem, run

from automl.agents.base import make_agent
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError
from automl.problem import Problem


class TestUniform(AgentContract):
    name = "uniform"
    beats_random = False  # one policy, whatever the harm


def test_one_policy_with_one_ratio_and_all_blocks() -> None:
    problem = made_problem(12, seed=1, share=0.5)
    (trial,) = run(make_agent("uniform", problem), problem, 10)
    assert trial.policy.removed == frozenset()
    assert len(set(trial.policy.channels.values())) == 1


def test_no_larger_ratio_fits() -> None:
    problem = made_problem(12, seed=2, share=0.5)
    (trial,) = run(make_agent("uniform", problem), problem, 1)
    kept = next(iter(trial.policy.channels.values()))
    for larger in range(kept + 1, 5):
        vector = problem.space.dense.copy()
        vector[:12] = larger - 1
        assert not problem.budget.allows_all(problem.costs.price(vector[None]))[0]


def test_a_budget_out_of_reach_of_any_ratio_is_refused() -> None:
    problem = made_problem(12, seed=3)
    tight = Budget((Limit("latency", 1e-6),))
    with pytest.raises(InfeasibleError, match="no common ratio"):
        make_agent("uniform", Problem(problem.space, problem.costs, tight)).ask(1)


def test_the_dense_network_where_it_fits() -> None:
    problem = made_problem(12, seed=4, share=1.0)
    (policy,) = make_agent("uniform", problem).ask(1)
    assert np.array_equal(problem.space.encode(policy), problem.space.dense)
