"""From sums of operators to networks."""

from __future__ import annotations

import numpy as np
import pytest

from automl.errors import MeasureError
from automl.profiling.overhead import Sums, fit_overhead, network_seconds


def networks(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(1e-3, 5e-3, count), rng.integers(20, 90, count)


def test_the_truth_is_found() -> None:
    sums, operators = networks(12)
    measured = 1.1 * sums + 2e-6 * operators + 5e-5
    found = fit_overhead(Sums(sums), operators, measured)
    assert found.scale == pytest.approx(1.1)
    assert found.seconds_per_operator == pytest.approx(2e-6)
    assert found.seconds_per_call == pytest.approx(5e-5)
    assert found.error < 1e-6
    assert network_seconds(found, sums[0], operators[0]) == pytest.approx(measured[0])


def test_one_disturbed_network_does_not_decide() -> None:
    sums, operators = networks(12)
    measured = 1.1 * sums
    measured[3] *= 3.0
    found = fit_overhead(Sums(sums), operators, measured)
    guesses = [network_seconds(found, s, n) for s, n in zip(sums, operators, strict=True)]
    assert np.delete(guesses / (1.1 * sums), 3) == pytest.approx(1.0, abs=0.03)
    assert found.error > 0.05  # the disturbed one counts in the error


def test_nothing_is_negative() -> None:
    sums, operators = networks(12)
    found = fit_overhead(Sums(sums), operators, 0.9 * sums - 1e-6 * operators)
    assert found.seconds_per_operator >= 0
    assert found.seconds_per_call >= 0


def test_few_networks_give_a_factor_alone() -> None:
    sums, operators = networks(4)
    found = fit_overhead(Sums(sums), operators, 1.2 * sums + 1e-5)
    assert found.seconds_per_operator == 0
    assert found.seconds_per_call == 0
    assert found.networks == 4


def test_two_are_too_few() -> None:
    with pytest.raises(MeasureError, match="at least 3"):
        fit_overhead(Sums(np.array([1.0, 2.0])), [1, 2], [1.0, 2.0])


def test_without_an_overhead_it_is_the_sum() -> None:
    assert network_seconds(None, 2e-3, 50) == 2e-3


def test_networks_that_hardly_differ_tell_the_scale_alone() -> None:
    rng = np.random.default_rng(0)
    sums = 1e-3 * (1.0 + 0.01 * rng.random(12))  # one operator that stays outweighs the choices
    measured = 1.5e-3 * (1.0 - 0.01 * rng.random(12))  # less for more, by their noise
    measured = np.sort(measured)[np.argsort(np.argsort(-sums))]
    found = fit_overhead(Sums(sums), np.full(12, 9), measured)
    assert found.scale == pytest.approx(1.5, rel=0.03)
    assert (found.seconds_per_operator, found.seconds_per_call) == (0.0, 0.0)


def test_integers_have_a_scale_of_their_own_where_that_is_so() -> None:
    sums, operators = networks(10)
    share = np.array([0, 1, 0, 0.9, 0.3, 1, 0.5, 0.95, 0.1, 1])
    integers = share * sums
    measured = 1.1 * (sums - integers) + 0.88 * integers + 2e-6 * operators
    found = fit_overhead(Sums(sums, integers), operators, measured)
    assert found.scale == pytest.approx(1.1)
    assert found.integers == pytest.approx(0.8)
    assert found.error < 1e-6
    together = fit_overhead(Sums(sums), operators, measured)
    assert together.integers == 1.0
    assert together.error > 0.02


def test_integers_have_none_where_noise_alone_would_tell_it() -> None:
    sums, operators = networks(10)
    measured = 1.1 * sums * np.random.default_rng(1).normal(1.0, 0.02, 10)
    found = fit_overhead(Sums(sums, 0.02 * sums), operators, measured)
    assert found.integers == 1.0
    strange = 1.1 * (sums - 0.5 * sums[::-1].clip(0, sums)) + 5e-6 * operators
    found = fit_overhead(Sums(sums, 0.5 * sums[::-1].clip(0, sums)), operators, strange)
    assert 0.5 <= found.integers <= 2.0
