import math

import pytest
from contract import AgentContract, best, made_problem, run, sensitivity_of

from automl.agents.lagrangian import PROPOSALS
from automl.agents.registry import make_agent
from automl.cost.model import Budget, Limit
from automl.errors import InfeasibleError, SpaceError
from automl.solver.exact import solve
from automl.space import KINDS
from automl.study.problem import Problem
from automl.testing import MADE_UP, with_made_up_kind


class TestLagrangian(AgentContract):
    name = "lagrangian"


def test_the_first_proposal_is_the_optimum() -> None:
    problem = made_problem(20, seed=1)
    assert problem.sensitivity is not None
    (policy,) = make_agent("lagrangian", problem).ask(1)
    least = solve(problem.costs, problem.sensitivity.single, problem.budget)
    assert least.proven
    assert math.isclose(sensitivity_of(problem, policy), least.sensitivity)


def test_few_distinct_policies_of_which_the_first_is_best_where_sensitivity_adds_up() -> None:
    problem = made_problem(30, seed=2)
    trials = run(make_agent("lagrangian", problem), problem, 100)
    assert 2 <= len(trials) <= PROPOSALS
    assert len({problem.space.encode(trial.policy).tobytes() for trial in trials}) == len(trials)
    assert best(trials[:1]) == best(trials)


def test_without_sensitivity_it_says_what_is_missing() -> None:
    problem = made_problem(3)
    with pytest.raises(SpaceError, match="needs the sensitivity"):
        make_agent("lagrangian", Problem(problem.space, problem.costs, problem.budget))


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    problem = made_problem(3)
    budget = Budget((Limit("latency", 1e-9),))
    agent = make_agent(
        "lagrangian", Problem(problem.space, problem.costs, budget, problem.sensitivity)
    )
    with pytest.raises(InfeasibleError, match="the least is"):
        agent.ask(1)


def test_a_further_kind_is_weighed_after_those_that_are_known() -> None:
    with KINDS.including(MADE_UP):
        problem = with_made_up_kind(made_problem(6, seed=1))
        agent = make_agent("lagrangian", problem)
        assert agent.held == ()
        first, *_ = agent.ask(1)
        assert first.further == {"made-up": {"part": "least"}}
