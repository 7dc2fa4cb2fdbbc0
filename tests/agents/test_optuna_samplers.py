from dataclasses import replace
from typing import ClassVar

import numpy as np
from contract import AgentContract, made_problem, run, sensitivity_of

from automl.agents.optuna_samplers import ranked_options
from automl.agents.registry import make_agent
from automl.solver.exact import solve
from automl.space import KINDS
from automl.study.problem import Problem
from automl.testing import MADE_UP, with_made_up_kind


class TestTpe(AgentContract):
    name = "optuna-tpe"
    trials = 16


class TestCmaEs(AgentContract):
    name = "optuna-cmaes"
    trials = 16


class TestGp(AgentContract):
    name = "optuna-gp"
    trials = 12


class TestNsga(AgentContract):
    name = "optuna-nsga2"
    trials = 16


class TestTpeFromNothing(AgentContract):
    name = "optuna-tpe"
    options: ClassVar[dict[str, object]] = {"warm_start": False}
    trials = 48


def test_the_warm_start_is_the_additive_optimum() -> None:
    problem = made_problem(12, seed=1)
    assert problem.sensitivity is not None
    least = solve(problem.costs, problem.sensitivity.single, problem.budget)
    for name in ("optuna-tpe", "optuna-cmaes", "optuna-gp", "optuna-nsga2"):
        (policy,) = make_agent(name, problem, 3).ask(1)
        assert sensitivity_of(problem, policy) <= least.sensitivity + 1e-9


def test_a_known_policy_is_not_asked_for_again() -> None:
    problem = made_problem(4, seed=2)
    trials = run(make_agent("optuna-tpe", problem, 1), problem, 30)
    assert len({problem.space.encode(trial.policy).tobytes() for trial in trials}) == len(trials)


def test_the_front_has_policies_below_the_budget_too() -> None:
    problem = made_problem(12, seed=3)
    trials = run(make_agent("optuna-nsga2", problem, 1), problem, 40)
    spent = [trial.cost.latency / problem.budget.limits[0].value for trial in trials]
    assert min(spent) < 0.9
    assert 0.95 < max(spent) <= 1.0


def test_about_half_of_the_draws_for_a_front_are_filled_up_to_the_budget() -> None:
    problem = made_problem(12, seed=3)
    trials = run(make_agent("optuna-nsga2", problem, 1, warm_start=False), problem, 16)
    spent = np.array([trial.cost.latency / problem.budget.limits[0].value for trial in trials])
    assert 4 <= (spent > 0.95).sum() <= 12


def test_without_a_sensitivity_it_starts_cold() -> None:
    problem = made_problem(6, seed=4)
    bare = Problem(problem.space, problem.costs, problem.budget)
    policies = make_agent("optuna-tpe", bare, 5).ask(4)
    assert len(policies) == 4
    assert all(bare.budget.allows(bare.costs.cost(policy)) for policy in policies)
    assert np.unique([bare.space.encode(policy) for policy in policies], axis=0).shape[0] == 4


def test_options_without_an_order_are_drawn_in_that_of_their_sensitivity() -> None:
    with KINDS.including(MADE_UP):
        problem = with_made_up_kind(made_problem(3, seed=1))
        assert problem.sensitivity is not None
        last = len(problem.space.sizes) - 1
        single = (*problem.sensitivity.single[:-1], np.array([1e-6, 2e-6, 0.0]))
        turned = replace(problem, sensitivity=replace(problem.sensitivity, single=single))
        assert {k: v.tolist() for k, v in ranked_options(problem).items()} == {last: [0, 1, 2]}
        assert {k: v.tolist() for k, v in ranked_options(turned).items()} == {last: [1, 0, 2]}
        optimum = solve(turned.costs, single, turned.budget).vector
        (first,) = make_agent("optuna-tpe", turned).ask(1)
        assert np.array_equal(turned.space.encode(first), optimum)
