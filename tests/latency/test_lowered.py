"""Prices as low as they may well be."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, nan

import numpy as np
import pytest

from automl.latency.keys import MISSING, OpKey, Timings
from automl.latency.lowered import DEVIATIONS, LoweredPricer

KEYS = [OpKey("linear", 4, width) for width in range(4)]


class Fixed:
    """A measured row, an interpolated and a fitted one, and one that is missing."""

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        seconds, spread = np.array([1.0, 2.0, 3.0, nan]), np.array([0.5, 0.1, nan, nan])
        return Timings(seconds, spread, np.array([0, 1, 2, MISSING], dtype=np.int8))


def test_what_was_not_measured_is_lowered_by_its_uncertainty() -> None:
    found = LoweredPricer(Fixed()).lookup(KEYS)
    assert found.seconds[:3] == pytest.approx([1.0, 2.0 * exp(-0.1 * DEVIATIONS), 3.0])
    assert np.isnan(found.seconds[3])
    assert found.source.tolist() == [0, 1, 2, MISSING]


def test_a_time_is_below_the_lowered_one_in_one_of_twenty_cases() -> None:
    drawn = np.exp(0.3 * np.random.default_rng(0).standard_normal(20_000))
    lowered = exp(-0.3 * DEVIATIONS)
    assert (drawn < lowered).mean() == pytest.approx(0.05, abs=0.005)
