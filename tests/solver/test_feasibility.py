"""Choices made one after the other: refused exactly when nothing compensates for them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from contract import made_problem

from automl.cost import Budget, Limit
from automl.errors import InfeasibleError
from automl.solver.feasibility import Completion
from automl.study.problem import Problem


def with_limits(problem: Problem, shares: dict[str, float]) -> Problem:
    dense = problem.costs.dense
    limits = (Limit("latency", shares["latency"] * dense.latency),)
    return replace(problem, budget=Budget((*limits, Limit("macs", shares["macs"] * dense.macs))))


@pytest.mark.parametrize("two_limits", [False, True])
def test_an_option_is_refused_exactly_when_nothing_can_compensate_for_it(two_limits: bool) -> None:
    for seed in range(6):
        problem = made_problem(5, seed=seed, share=0.3)
        if two_limits:
            problem = with_limits(problem, {"latency": 0.35, "macs": 0.3})
        order = list(range(len(problem.space.variables)))
        everything = np.array(list(product(*map(range, problem.space.sizes))), dtype=np.int16)
        allowed = everything[problem.budget.allows_all(problem.costs.price(everything))]
        completion = Completion(problem, order, {})
        generator = np.random.default_rng(seed)
        witness = completion.first
        for position in order:
            agree = (allowed[:, :position] == witness[:position]).all(axis=1)
            possible = set(allowed[agree, position].tolist())
            wanted = generator.permutation(problem.space.sizes[position]).tolist()
            expected = next(option for option in wanted if option in possible)
            witness = completion.choose(witness, position, wanted)
            assert witness[position] == expected
        assert problem.budget.allows_all(problem.costs.price(witness[None]))[0]


def test_held_variables_stay_and_what_they_make_impossible_is_refused() -> None:
    problem = made_problem(5, seed=1, share=0.5)
    top = problem.space.sizes[0] - 1
    completion = Completion(problem, range(1, len(problem.space.sizes)), {0: top})
    assert completion.first[0] == top
    tight = replace(problem, budget=Budget((Limit("latency", 1e-9),)))
    with pytest.raises(InfeasibleError):
        Completion(tight, range(1, len(problem.space.sizes)), {0: top})


def test_a_choice_that_costs_nothing_more_keeps_the_witness() -> None:
    problem = made_problem(5, seed=2, share=0.5)
    completion = Completion(problem, range(len(problem.space.sizes)), {})
    first = completion.first
    assert np.array_equal(completion.choose(first, 0, [int(first[0])]), first)
