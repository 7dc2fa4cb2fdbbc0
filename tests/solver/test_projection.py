"""Any vector brought into the budget, and raised to what it allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from contract import made_problem

from automl.cost import Budget, Limit
from automl.errors import InfeasibleError
from automl.solver.projection import Projection
from automl.space import Vectors
from automl.study.problem import Problem


def fits(problem: Problem, vector: Vectors) -> bool:
    return bool(problem.budget.allows_all(problem.costs.price(vector[None]))[0])


def drawn(problem: Problem, generator: np.random.Generator) -> Vectors:
    return np.array([generator.integers(size) for size in problem.space.sizes], dtype=np.int16)


def full(problem: Problem, vector: Vectors) -> bool:
    """Whether no variable can go up by one option."""
    for variable, size in enumerate(problem.space.sizes):
        if vector[variable] + 1 < size:
            raised = vector.copy()
            raised[variable] += 1
            if fits(problem, raised):
                return False
    return True


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_any_vector_ends_within_the_budget_with_no_room_left(share: float) -> None:
    problem = made_problem(7, seed=1, share=share)
    projection = Projection(problem)
    generator = np.random.default_rng(0)
    for _ in range(10):
        vector = drawn(problem, generator)
        for found in (projection.randomly(vector, generator), projection.evenly(vector)):
            assert fits(problem, found)
            assert full(problem, found)


def test_the_anchor_is_within_the_budget() -> None:
    for seed in range(4):
        problem = made_problem(7, seed=seed, share=0.3)
        assert fits(problem, Projection(problem).anchor)


def test_without_filling_nothing_goes_above_what_was_drawn() -> None:
    problem = made_problem(7, seed=2, share=0.6)
    projection = Projection(problem)
    generator = np.random.default_rng(1)
    for _ in range(10):
        vector = problem.space.canonical(drawn(problem, generator))
        found = projection.evenly(vector, fill=False)
        assert fits(problem, found)
        assert (found <= np.maximum(vector, projection.anchor)).all()


def test_what_fits_stays_where_nothing_is_filled() -> None:
    problem = made_problem(7, seed=3, share=1.0)
    projection = Projection(problem)
    dense = problem.space.dense
    assert np.array_equal(projection.evenly(dense, fill=False), dense)


def test_what_cannot_be_met_is_refused_with_the_least() -> None:
    problem = made_problem(5)
    tight = replace(problem, budget=Budget((Limit("latency", 1e-9),)))
    with pytest.raises(InfeasibleError) as refused:
        Projection(tight)
    assert 0.0 < refused.value.least["latency"] < problem.costs.dense.latency
