"""Sums minimised exactly, one variable after the other."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sums import every_assignment, random_sum, totals

from automl.solver import bucket_elimination as elimination
from automl.solver.bucket_elimination import Chain, Factor, Floats, build_chain, undominated
from automl.solver.lagrangian_dual import minimise


def chain_of(seed: int, costs: int = 1) -> tuple[Chain, Floats, Floats]:
    """A chain, and the terms of every assignment."""
    sizes, parts, _ = random_sum(np.random.default_rng(seed), costs)
    chain = build_chain(sizes, parts, 1 + costs)
    assert chain is not None
    assignments = every_assignment(sizes)
    return chain, assignments, totals(parts, assignments)


@pytest.mark.parametrize("seed", range(20))
def test_the_least_weighted_sum_is_that_of_brute_force(seed: int) -> None:
    chain, assignments, sums = chain_of(seed, costs=2)
    for weights in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.7, 2.0]):
        assignment, terms = chain.minimiser(np.array(weights))
        least = float((sums @ weights).min())
        assert math.isclose(float(terms @ weights), least, abs_tol=1e-9)
        assert math.isclose(float(chain.remaining(np.array(weights))[0][0]), least, abs_tol=1e-9)
        place = int((assignments == assignment).all(axis=1).argmax())
        assert np.allclose(sums[place], terms)


def test_what_remains_after_the_last_step_is_nothing() -> None:
    chain, _, _ = chain_of(3)
    remaining = chain.remaining(np.array([1.0, 0.5]))
    assert len(remaining) == len(chain.steps) + 1
    assert remaining[-1].tolist() == [0.0]
    sizes = [step.frontiers for step in chain.steps]
    assert [len(each) for each in remaining] == [1, *sizes]


def test_parts_that_depend_on_each_other_too_widely_are_declined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elimination, "WIDEST", 1000)
    parts = [Factor((i, j), np.zeros((8, 8, 2))) for i in range(6) for j in range(i + 1, 6)]
    assert build_chain([8] * 6, parts, 2) is None
    assert minimise([8] * 6, parts, np.ones(1)) is None


def test_the_order_keeps_a_chain_narrow() -> None:
    """A ladder of two hundred variables in a shuffled numbering stays a matter of triples."""
    names = np.random.default_rng(0).permutation(200).tolist()
    parts = [
        Factor((a, b), np.random.default_rng(a).random((8, 8, 2)))
        for a, b in itertools.pairwise(names)
    ]
    chain = build_chain([8] * 200, parts, 2)
    assert chain is not None
    assert max(step.after.size for step in chain.steps) <= 8**3


def test_one_variable_in_every_part_does_not_widen_the_chain() -> None:
    """As a residual network's trunk, which every block reads and writes, has it."""
    generator = np.random.default_rng(0)
    blocks = [(0, inner, inner + 1) for inner in range(1, 60, 2)]
    parts = [Factor(scope, generator.random((8, 8, 2, 2))) for scope in blocks]
    sizes = [8 if variable % 2 or not variable else 2 for variable in range(61)]
    chain = build_chain(sizes, parts, 2)
    assert chain is not None
    assert max(step.after.size for step in chain.steps) <= 8 * 8 * 2


def test_options_that_another_is_never_worse_than_are_left_out() -> None:
    # sensitivity and cost of three options of the first variable, against two of the second
    table = np.array([[[1.0, 4.0], [1.0, 4.0]], [[2.0, 4.0], [1.0, 5.0]], [[3.0, 1.0], [3.0, 1.0]]])
    useful = undominated([3, 2], [Factor((0, 1), table)])
    assert [each.tolist() for each in useful] == [[0, 2], [0, 1]]
    alone = Factor((0,), np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0]]))
    assert undominated([3, 2], [Factor((0, 1), table), alone])[0].tolist() == [0, 2]
    reward = Factor((0,), np.array([[9.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    assert undominated([3, 2], [Factor((0, 1), table), reward])[0].tolist() == [0, 1, 2]
    small = Factor((0, 1), table).restricted(useful)
    assert small.table.tolist() == [[[1.0, 4.0], [1.0, 4.0]], [[3.0, 1.0], [3.0, 1.0]]]
    equal = Factor((0,), np.array([[2.0, 1.0], [2.0, 1.0], [3.0, 1.0]]))
    assert undominated([3], [equal])[0].tolist() == [1]  # of equal ones the last
