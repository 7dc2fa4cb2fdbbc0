import numpy as np
import pytest

from automl.solver.response_surface import LowRank, fit_log_cost, fit_low_rank


def points(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.3, 1.0, (count, 3))


def test_a_product_is_recovered_from_few_points() -> None:
    def truth(at: np.ndarray) -> np.ndarray:
        depth, width, resolution = at.T
        return 0.9 * depth**0.1 * (1.0 - 0.3 * (1.0 - width) ** 2) * resolution**0.2

    seen, fresh = points(16), points(50, 1)
    generator = np.random.default_rng(0)
    surface = fit_low_rank(seen, truth(seen), generator, rank=2, degree=2)
    error = surface(fresh) - truth(fresh)
    assert np.sqrt(np.mean(error**2)) < 0.25 * truth(fresh).std()


def test_equal_scores_give_a_flat_surface() -> None:
    surface = fit_low_rank(points(8), np.full(8, 0.5), np.random.default_rng(0), rank=2, degree=2)
    assert surface(points(5, 1)) == pytest.approx(0.5, abs=1e-2)


def test_gradients_are_those_of_finite_differences() -> None:
    surface = LowRank(np.random.default_rng(2).normal(size=(2, 3, 3)), 1.0, 3.0)
    at = points(40, 3)
    costs = fit_log_cost(at, at[:, 0] * at[:, 1] ** 2 + at[:, 2])
    for function in (surface, costs):
        for point in at[:3]:
            steps = 1e-6 * np.eye(3)
            slopes = (function(point + steps) - function(point - steps)) / 2e-6
            assert function.gradient(point) == pytest.approx(slopes, rel=1e-4, abs=1e-6)


def test_elasticities_of_the_papers_cost_are_one_two_two() -> None:
    at = np.random.default_rng(4).uniform(0.6, 1.0, (200, 3))
    costs = fit_log_cost(at, at[:, 0] * at[:, 1] ** 2 * at[:, 2] ** 2)
    assert costs.elasticities(np.array([0.8, 0.8, 0.8])) == pytest.approx([1, 2, 2], rel=0.05)
