"""The gap that a multiplier leaves, closed: against brute force, cut short, and out of reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sums import every_assignment, random_sum, totals

from automl.solver.bucket_elimination import Floats, build_chain
from automl.solver.dynamic_programming import Closing, close_gap


def closed(
    seed: int, costs: int, *, best: float = math.inf, most: int = 10_000
) -> tuple[Closing, Floats, Floats]:
    """What is found within limits that a third of the assignments meet, all sums, the limits."""
    sizes, parts, _ = random_sum(np.random.default_rng(seed), costs)
    chain = build_chain(sizes, parts, 1 + costs)
    assert chain is not None
    sums = totals(parts, every_assignment(sizes))
    limits = np.quantile(sums[:, 1:], 0.35, axis=0)
    multipliers = np.full(costs, 0.3)
    found = close_gap(chain, limits, multipliers, best, most=most, slack=1e-9)
    return found, sums, limits


def least_within(sums: Floats, limits: Floats) -> float:
    within = (sums[:, 1:] <= limits).all(axis=1)
    return float(sums[within, 0].min()) if within.any() else math.inf


@pytest.mark.parametrize("costs", [1, 2])
@pytest.mark.parametrize("seed", range(15))
def test_the_least_within_the_limits_is_that_of_brute_force(seed: int, costs: int) -> None:
    found, sums, limits = closed(seed, costs)
    assert found.complete
    least = least_within(sums, limits)
    if math.isinf(least):
        assert found.assignment is None
        return
    assert found.assignment is not None
    assert math.isclose(float(found.terms[0]), least, abs_tol=1e-9)
    assert (found.terms[1:] <= limits + 1e-9).all()


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_below_what_is_the_least_already(seed: int) -> None:
    _, sums, limits = closed(seed, 1)
    again, _, _ = closed(seed, 1, best=least_within(sums, limits))
    assert again.assignment is None
    assert again.complete


@pytest.mark.parametrize("seed", range(10))
def test_lists_that_are_cut_short_leave_a_bound_that_holds(seed: int) -> None:
    found, sums, limits = closed(seed, 1, most=2)
    least = least_within(sums, limits)
    reached = float(found.terms[0]) if found.assignment is not None else math.inf
    assert reached >= least - 1e-9
    assert min(found.bound, reached) <= least + 1e-9
