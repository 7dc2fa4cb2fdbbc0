import itertools
import math

import numpy as np
import pytest
from contract import made_problem

from automl.cost import Budget, CostModel, Limit
from automl.cost import factors as cost_factors
from automl.errors import InfeasibleError
from automl.solver import bucket_elimination as elimination
from automl.solver.exact import solve
from automl.space import Vectors
from automl.study.problem import Problem
from automl.units import format_seconds, round_up


def every_vector(problem: Problem) -> Vectors:
    options = itertools.product(*(range(size) for size in problem.space.sizes))
    return np.array(list(options), dtype=np.int16)


def sensitivities(problem: Problem, vectors: Vectors) -> np.ndarray:
    assert problem.sensitivity is not None
    canonical = problem.space.canonical(vectors)
    pairs = zip(problem.sensitivity.single, canonical.T, strict=True)
    return np.sum([sensitivity[column] for sensitivity, column in pairs], axis=0)


def least_sensitivity(problem: Problem, budget: Budget) -> float:
    vectors = every_vector(problem)
    within = budget.allows_all(problem.costs.price(vectors))
    return float(sensitivities(problem, vectors)[within].min())


def sensitivity(problem: Problem) -> tuple[np.ndarray, ...]:
    assert problem.sensitivity is not None
    return problem.sensitivity.single


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_the_policy_is_the_true_optimum_at_full_prices(seed: int, share: float) -> None:
    problem = made_problem(5, seed=seed, share=share)
    found = solve(problem.costs, sensitivity(problem), problem.budget)
    assert found.proven
    assert math.isclose(found.sensitivity, least_sensitivity(problem, problem.budget), abs_tol=1e-9)
    priced = problem.costs.price(found.vector[None])[0]
    assert np.array_equal(found.costs, priced, equal_nan=True)
    assert problem.budget.allows_all(priced)


@pytest.mark.parametrize("seed", range(4))
def test_two_limits_at_once(seed: int) -> None:
    problem = made_problem(5, seed=seed)
    budget = Budget(
        (
            Limit("latency", 0.6 * problem.costs.dense.latency),
            Limit("macs", 0.5 * problem.costs.dense.macs),
        )
    )
    found = solve(problem.costs, sensitivity(problem), budget)
    assert budget.allows_all(found.costs)
    assert math.isclose(found.sensitivity, least_sensitivity(problem, budget), abs_tol=1e-9)


def test_a_limit_that_one_policy_meets_exactly_does_not_exclude_it() -> None:
    problem = made_problem(4, seed=3)
    vectors = every_vector(problem)
    for price in problem.costs.price(vectors[::37])[:, 0]:
        budget = Budget((Limit("latency", float(price)),))
        found = solve(problem.costs, sensitivity(problem), budget)
        assert math.isclose(found.sensitivity, least_sensitivity(problem, budget), abs_tol=1e-9)


def test_held_variables_stay_and_options_without_finite_sensitivity_are_not_used() -> None:
    problem = made_problem(5, seed=1)
    assert solve(problem.costs, sensitivity(problem), problem.budget, {0: 2}).vector[0] == 2
    forbidden = [each.copy() for each in sensitivity(problem)]
    forbidden[1][0] = np.inf
    forbidden[1][1] = np.nan
    assert solve(problem.costs, forbidden, problem.budget).vector[1] >= 2


def test_an_impossible_budget_names_the_least_that_can_be_reached() -> None:
    problem = made_problem(5, seed=2)
    least = float(problem.costs.price(every_vector(problem))[:, 0].min())
    said = f"the least is {format_seconds(round_up(least))}"
    with pytest.raises(InfeasibleError, match=said):
        solve(problem.costs, sensitivity(problem), Budget((Limit("latency", 0.99 * least),)))
    exact = Budget((Limit("latency", least),))
    assert solve(problem.costs, sensitivity(problem), exact).costs[0] == least


def wide(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> CostModel:
    """The same prices in lookups that are no factors, as behind a concatenation."""
    monkeypatch.setattr(cost_factors, "JOINT_ENTRIES", 1)
    factors, whole = problem.costs.factors()
    assert whole
    lookups = []
    for factor in factors:
        shape = factor.table.shape[:-1]
        rows = np.zeros((math.prod(shape), cost_factors.COLUMNS))
        rows[:, :3] = factor.table[..., :3].reshape(-1, 3)
        strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        steps = [
            (v, stride * np.arange(size))
            for v, stride, size in zip(factor.scope, strides, shape, strict=True)
        ]
        lookups.append(cost_factors.Lookup(tuple(steps), rows))
    joined = cost_factors.join(lookups, problem.space.sizes)
    return CostModel(problem.space, joined, float(problem.costs.constant[0]))


@pytest.mark.parametrize("seed", range(4))
def test_prices_that_are_no_sum_of_small_factors(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = made_problem(6, seed=seed, share=0.5)
    costs = wide(problem, monkeypatch)
    assert not costs.factors()[1]
    found = solve(costs, sensitivity(problem), problem.budget)
    assert not found.proven
    assert problem.budget.allows_all(found.costs)
    best = least_sensitivity(problem, problem.budget)
    assert found.bound <= best <= found.sensitivity <= 1.1 * best
    impossible = Budget((Limit("latency", 1e-9),))
    with pytest.raises(InfeasibleError, match="the least is"):
        solve(costs, sensitivity(problem), impossible)


def test_factors_that_depend_on_each_other_too_widely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elimination, "WIDEST", 30)
    problem = made_problem(6, seed=1, share=0.5)
    found = solve(problem.costs, sensitivity(problem), problem.budget)
    assert not found.proven
    assert problem.budget.allows_all(found.costs)
    assert found.sensitivity <= 1.1 * least_sensitivity(problem, problem.budget)
