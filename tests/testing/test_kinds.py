"""The made-up choice tempts, and who holds it dense has the problem as it was."""

from __future__ import annotations

import numpy as np

from automl.solver.exact import solve
from automl.space import KINDS
from automl.testing import MADE_UP, made_problem, with_made_up_kind


def test_held_dense_the_problem_is_as_it_was() -> None:
    problem = made_problem(5)
    with KINDS.including(MADE_UP):
        more = with_made_up_kind(problem)
    vectors = problem.space.random(50, np.random.default_rng(0))
    held = np.concatenate([vectors, np.full((50, 1), 2, dtype=np.int16)], axis=1)
    before, after = problem.costs.price(vectors), more.costs.price(held)
    np.testing.assert_allclose(after[:, 1], before[:, 1] + 0.2 * problem.costs.dense.macs)
    fits = problem.budget.allows_all(before)
    assert fits.tolist() == more.budget.allows_all(after).tolist()
    assert 0 < fits.sum() < 50


def test_the_best_policy_makes_the_choice() -> None:
    with KINDS.including(MADE_UP):
        more = with_made_up_kind(made_problem(5))
        assert more.sensitivity is not None
        found = solve(more.costs, more.sensitivity.single, more.budget)
        assert found.vector[-1] == 0
        assert more.space.decode(found.vector).further == {"made-up": {"part": "least"}}
