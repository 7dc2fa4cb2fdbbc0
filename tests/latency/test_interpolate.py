"""Times between rows that differ in channels alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_tables import HEADER, conv, depthwise

from automl.latency.interpolate import Interpolator, family
from automl.latency.keys import MISSING, OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable


def test_interpolation_needs_rows_on_all_sides() -> None:
    rows = [Row(conv(8, 8), 1e-6), Row(conv(16, 8), 2e-6), Row(conv(16, 16), 4e-6)]
    found = LatencyTable(HEADER, rows).lookup(
        [conv(12, 8), conv(16, 12), conv(8, 12), conv(12, 12)]
    )
    assert found.source.tolist() == [1, 1, MISSING, MISSING]
    assert found.seconds[:2] == pytest.approx([1.5e-6, 3e-6])


def test_depthwise_rows_are_one_family() -> None:
    rows = [Row(depthwise(8), 1e-6), Row(depthwise(24), 3e-6)]
    found = LatencyTable(HEADER, rows).lookup([depthwise(16)])
    assert found.seconds[0] == pytest.approx(2e-6)


def test_rows_of_one_family_differ_in_channels_alone() -> None:
    assert family(conv(8, 8)) == family(conv(16, 24))
    assert family(conv(8, 8)) != family(conv(8, 8, size=4))
    assert family(conv(8, 8)) != family(replace(conv(8, 8), precision="int8"))
    assert family(depthwise(8)) == family(depthwise(24))
    assert family(replace(conv(8, 8), groups=2)) != family(replace(conv(8, 8), groups=4))


def test_a_bilinear_function_is_met_exactly_and_nothing_beyond_it() -> None:
    rows = [Row(conv(a, b), 1e-6 * (1 + a * b)) for a in (8, 16, 32) for b in (8, 64)]
    seconds, _ = Interpolator(rows).at([conv(a, b) for a, b in ((8, 8), (20, 50), (33, 8), (8, 7))])
    np.testing.assert_allclose(seconds[:2], [65e-6, 1001e-6])
    assert np.isnan(seconds[2:]).all()


def test_holes_are_filled_from_inside() -> None:
    rows = [Row(conv(8, b), 1e-6 * b) for b in (8, 16, 32)]
    rows += [Row(conv(16, b), 2e-6 * b) for b in (8, 32)]  # (16, 16) lies between them
    seconds, _ = Interpolator(rows).at([conv(16, 16), conv(12, 16)])
    np.testing.assert_allclose(seconds, [32e-6, 24e-6])


def test_the_spread_is_the_largest_around_and_grows_with_the_step_between() -> None:
    rows = [Row(OpKey("linear", 8, 8), 1e-6, 0.01), Row(OpKey("linear", 8, 16), 2e-6, 0.02)]
    _, spread = Interpolator(rows).at([OpKey("linear", 8, 12), OpKey("linear", 8, 8)])
    assert spread[0] == pytest.approx(0.02 + 0.25 * 1e-6 / 1.5e-6)
    assert spread[1] < spread[0]


def test_a_row_that_is_added_is_taken_into_account() -> None:
    found = Interpolator([Row(depthwise(8), 1e-6), Row(depthwise(24), 3e-6)])
    assert found.at([depthwise(16)])[0] == pytest.approx(2e-6)
    found.add(Row(depthwise(16), 9e-6))
    assert found.at([depthwise(16)])[0] == pytest.approx(9e-6)
    assert np.isnan(found.at([OpKey("linear", 8, 8)])[0]).all()
