import math

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from sums import every_assignment, random_sum, totals

from automl.solver import lagrangian_dual
from automl.solver.bucket_elimination import Factor, Floats
from automl.solver.lagrangian_dual import Optimum, minimise


def check(found: Optimum | None, sums: Floats, limits: Floats) -> None:
    """The optimum is that of the enumeration."""
    assert found is not None
    assert found.proven
    within = (sums[:, 1:] <= limits + 1e-12).all(axis=1)
    if not within.any():
        assert found.assignment is None
        return
    best = float(sums[within, 0].min())
    assert math.isclose(found.sensitivity, best, abs_tol=1e-9)
    assert found.bound <= best + 1e-9


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("costs", [1, 2])
@pytest.mark.parametrize("seed", range(50))
def test_the_optimum_is_that_of_brute_force(seed: int, costs: int, whole: bool) -> None:
    generator = np.random.default_rng(seed)
    sizes, parts, _ = random_sum(generator, costs, whole)
    assignments = every_assignment(sizes)
    sums = totals(parts, assignments)
    limits = np.quantile(sums[:, 1:], generator.uniform(0.0, 0.7), axis=0) - 1e-3 * (seed % 3)
    found = minimise(sizes, parts, limits)
    check(found, sums, limits)
    if found is not None and found.assignment is not None:
        terms = totals(parts, found.assignment[None])[0]
        assert math.isclose(terms[0], found.sensitivity, abs_tol=1e-9)
        assert (terms[1:] <= limits + 1e-9).all()


@pytest.mark.parametrize("seed", [1574, 3041, 5519])
def test_what_is_found_last_is_not_taken_for_what_is_better(seed: int) -> None:
    """Assignments that meet a limit exactly, beside worse ones whose bound promises more."""
    generator = np.random.default_rng(seed)
    sizes, parts, _ = random_sum(generator, costs=int(generator.integers(1, 3)), whole=True)
    sums = totals(parts, every_assignment(sizes))
    limits = sums[int(generator.integers(len(sums))), 1:]
    check(minimise(sizes, parts, limits), sums, limits)


@pytest.mark.parametrize("seed", range(8))
def test_a_linear_program_that_fails_leaves_the_gap_to_be_closed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = OptimizeResult(x=None, success=False, status=4, message="numerical difficulties")
    monkeypatch.setattr(lagrangian_dual, "linprog", lambda *_, **__: failed)
    sizes, parts, _ = random_sum(np.random.default_rng(seed), costs=2)
    sums = totals(parts, every_assignment(sizes))
    limits = np.quantile(sums[:, 1:], 0.4, axis=0)
    check(minimise(sizes, parts, limits), sums, limits)


@pytest.mark.parametrize("seed", range(8))
def test_a_variable_that_everything_depends_on_is_settled_from_outside(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = [3, *([3] * 6)]
    parts = []
    for variable, size in enumerate(sizes):
        sensitivity = np.zeros((size, 2))
        sensitivity[:, 0] = generator.random(size)
        parts.append(Factor((variable,), sensitivity))
        if variable:
            cost = np.zeros((3, size, 2))
            cost[..., 1] = generator.random((3, size))
            parts.append(Factor((0, variable), cost))
    sums = totals(parts, every_assignment(sizes))
    limits = np.quantile(sums[:, 1:], [0.2], axis=0)[0]
    check(minimise(sizes, parts, limits), sums, limits)


def test_no_limit_in_the_way_gives_the_least_sensitivity() -> None:
    sizes, parts, _ = random_sum(np.random.default_rng(5))
    sums = totals(parts, every_assignment(sizes))
    check(minimise(sizes, parts, np.array([1e9])), sums, np.array([1e9]))


def test_what_cannot_be_reached_is_told_with_the_least_that_can() -> None:
    sizes, parts, _ = random_sum(np.random.default_rng(6))
    sums = totals(parts, every_assignment(sizes))
    found = minimise(sizes, parts, np.array([sums[:, 1].min() - 1.0]))
    assert found is not None
    assert found.assignment is None
    assert found.proven
    assert math.isclose(found.least[0], sums[:, 1].min())


def test_equal_limits_are_met_exactly() -> None:
    """A limit of whole numbers that an assignment meets exactly does not exclude it."""
    table = np.array([[3.0, 1.0], [1.0, 2.0], [0.0, 3.0]])
    found = minimise([3, 3], [Factor((0,), table), Factor((1,), table)], np.array([4.0]))
    assert found is not None
    assert found.sensitivity == 2.0
    assert found.assignment is not None
    assert found.assignment.tolist() == [1, 1]


def sixty_layers(seed: int) -> tuple[Floats, Floats]:
    """Sensitivity and cost [60, 9]: thinner is cheaper and hurts more, with noise on both."""
    generator = np.random.default_rng(seed)
    kept = np.linspace(0.2, 1.0, 9)
    weight = generator.lognormal(0.0, 1.0, (60, 1))
    sensitivity = weight * (1.0 - kept) ** generator.uniform(1.0, 3.0, (60, 1))
    sensitivity = sensitivity * generator.uniform(0.8, 1.2, (60, 9))
    cost = generator.lognormal(0.0, 0.7, (60, 1)) * kept * generator.uniform(0.8, 1.2, (60, 9))
    return sensitivity, cost


@pytest.mark.parametrize("seed", range(2))
def test_sixty_layers_by_nine_choices_as_a_milp_solves_them(seed: int) -> None:
    sensitivity, cost = sixty_layers(seed)
    limit = 0.55 * cost[:, -1].sum()
    parts = [Factor((i,), np.column_stack([sensitivity[i], cost[i]])) for i in range(60)]
    found = minimise([9] * 60, parts, np.array([limit]))
    assert found is not None
    assert found.proven
    one_each = np.kron(np.eye(60), np.ones(9))
    solved = milp(
        sensitivity.ravel(),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(cost.ravel()[None], -np.inf, limit),
        ],
        integrality=np.ones(540),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    assert math.isclose(found.sensitivity, solved.fun, rel_tol=1e-6)
