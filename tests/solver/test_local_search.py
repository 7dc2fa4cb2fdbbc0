"""Changes of one policy: neighbours, repair, improvement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from contract import made_problem

from automl.cost import Budget, Limit
from automl.solver.local_search import AdditiveProblem, improve, neighbours, repair
from automl.study.problem import Problem
from automl.units import QUANTITIES


def additive(problem: Problem) -> AdditiveProblem:
    assert problem.sensitivity is not None
    allowed = tuple(np.arange(size) for size in problem.space.sizes)
    return AdditiveProblem(problem.costs, problem.sensitivity.single, problem.budget, allowed)


def test_neighbours_differ_in_one_variable_and_are_all_there() -> None:
    allowed = (np.arange(3), np.array([0, 2]), np.array([1]))
    vector = np.array([1, 2, 1], dtype=np.int16)
    found = neighbours(vector, allowed)
    assert found.tolist() == [[0, 2, 1], [2, 2, 1], [1, 0, 1]]


@pytest.mark.parametrize("seed", range(4))
def test_no_single_change_improves_what_was_improved(seed: int) -> None:
    search = additive(made_problem(8, seed=seed, share=0.5))
    improved = improve(search, repair(search, search.costs.space.dense))
    around = neighbours(improved, search.allowed)
    within = search.budget.allows_all(search.costs.price(around))
    assert (search.sensitivities(around[within]) >= search.sensitivity_of(improved) - 1e-9).all()


def test_what_cannot_be_repaired_comes_back_over_the_budget() -> None:
    problem = made_problem(5, seed=2)
    search = additive(replace(problem, budget=Budget((Limit("latency", 1e-9),))))
    assert search.excess_of(repair(search, problem.space.dense)) > 0.0


def test_sensitivity_counts_pairs_and_nothing_inside_a_left_out_block() -> None:
    problem = made_problem(4, seed=1)
    plain = additive(problem)
    extra = np.full((problem.space.sizes[0], problem.space.sizes[1]), 0.25)
    paired = replace(plain, pairwise=(((0, 1), extra),))
    vector = problem.space.dense
    assert paired.sensitivity_of(vector) == pytest.approx(plain.sensitivity_of(vector) + 0.25)
    gate, inners = problem.space.nested[0]
    removed = vector.copy()
    removed[gate] = 0
    changed = removed.copy()
    changed[list(inners)] = 0
    assert plain.sensitivity_of(removed) == plain.sensitivity_of(changed)


def test_repair_and_improve_end_within_the_budget() -> None:
    search = additive(made_problem(12, seed=4, share=0.4))
    dense = search.costs.space.dense
    assert search.columns == [QUANTITIES.index("latency")]
    repaired = repair(search, dense)
    assert search.excess_of(dense) > 0.0
    assert search.excess_of(repaired) == 0.0
    improved = improve(search, repaired)
    assert search.excess_of(improved) == 0.0
    assert search.sensitivity_of(improved) <= search.sensitivity_of(repaired)
