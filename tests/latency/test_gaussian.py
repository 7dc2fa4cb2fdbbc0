"""Operators predicted from those that were measured."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from automl.latency import gaussian
from automl.latency.gaussian import GaussianPricer, most_telling
from automl.latency.header import TableHeader
from automl.latency.keys import MISSING, SOURCES, OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable

MEASURED, FITTED = SOURCES.index("measured"), SOURCES.index("fitted")
WIDTHS, SIZES = (8, 16, 24, 32, 48, 64), (7, 14, 28)


def conv(read: int, written: int, size: int, kernel: int = 3) -> OpKey:
    shape = (size, size)
    return OpKey("conv2d", read, written, (kernel, kernel), in_size=shape, out_size=shape)


def seconds(key: OpKey) -> float:
    """A device that pads channels to sixteens, with a call that costs a microsecond."""
    read, written = (-(-each // 16) * 16 for each in (key.in_channels, key.out_channels))
    macs = read * written * key.kernel[0] * key.kernel[1] * key.out_size[0] * key.out_size[1]
    return 1e-6 + 2e-11 * macs


def pricer(keys: Iterable[OpKey]) -> GaussianPricer:
    return GaussianPricer({key: (seconds(key), 0.01) for key in keys})


GRID = [conv(*each) for each in product(WIDTHS, WIDTHS, SIZES)]


def test_rows_are_as_they_were_measured() -> None:
    found = pricer(GRID[:20]).lookup(GRID[:20])
    assert found.seconds.tolist() == [seconds(key) for key in GRID[:20]]
    assert (found.source == MEASURED).all()
    assert (found.spread == 0.01).all()


def test_a_quarter_of_the_operators_tells_the_others() -> None:
    chosen = most_telling(GRID, [GRID[-1]], len(GRID) // 4 - 1)
    known = {GRID[-1], *chosen}
    others = [key for key in GRID if key not in known]
    found = pricer(known).lookup(others)
    off = np.abs(found.seconds / [seconds(key) for key in others] - 1.0)
    assert np.median(off) < 0.08
    assert off.max() < 0.5
    assert (found.source == FITTED).all()
    # As often within one standard deviation as it says, or oftener.
    assert (off < found.spread).mean() > 0.6


def test_what_tells_most_is_far_from_what_is_known() -> None:
    line = [conv(32, width, 14) for width in WIDTHS]
    assert most_telling(line, [line[-1]], 1) == [line[0]]
    assert most_telling(line, line, 5) == []
    everything = most_telling(GRID, [], len(GRID) + 7)
    assert sorted(everything) == sorted(GRID)
    assert most_telling(GRID, [], 9) == everything[:9]


def test_no_more_is_measured_than_the_uncertainty_asks_for() -> None:
    rough, fine = (most_telling(GRID, [], len(GRID), share) for share in (0.3, 0.1))
    assert 0 < len(rough) < len(fine) < len(GRID)
    assert fine[: len(rough)] == rough
    known = pricer(fine)
    left = [key for key in GRID if key not in set(fine)]
    # What the rows' own noise adds comes on top.
    assert (known.lookup(left).spread < known.scale * 0.13).all()


def test_uncertainty_grows_with_the_distance() -> None:
    near, far = conv(60, 64, 14), conv(8, 64, 14)
    spread = pricer([conv(64, 64, 14), conv(48, 64, 14)]).lookup([near, far]).spread
    assert spread[0] < spread[1]


def test_an_operator_of_a_type_without_rows_has_no_price() -> None:
    pool = replace(conv(16, 16, 14), op="max_pool")
    for known in (pricer(GRID[:5]), GaussianPricer({})):
        found = known.lookup([pool])
        assert np.isnan(found.seconds).all()
        assert found.source.tolist() == [MISSING]


def test_pools_of_whole_blocks_say_nothing_of_others() -> None:
    """ONNX Runtime takes 30 times as long for those; a mean of both would be wrong for both."""

    def pool(channels: int) -> OpKey:
        return replace(conv(channels, channels, 14), op="avg_pool")

    slow = {pool(width): (30e-6, 0.01) for width in (8, 24)}
    fast = {pool(width): (1e-6, 0.01) for width in (16, 48)}
    found = GaussianPricer(slow | fast).lookup([pool(32), pool(40)])
    assert found.seconds[0] < 3e-6
    assert found.seconds[1] > 10e-6


def test_integers_follow_floats_at_their_own_level() -> None:
    def whole(key: OpKey) -> OpKey:
        return replace(key, precision="int8")

    known = {key: (seconds(key), 0.01) for key in GRID}
    known |= {whole(key): (0.4 * seconds(key), 0.01) for key in (GRID[0], GRID[-1], GRID[50])}
    others = [whole(key) for key in GRID if whole(key) not in known]
    found = GaussianPricer(known).lookup(others)
    assert np.median(found.seconds / [0.4 * seconds(key) for key in others]) == pytest.approx(
        1.0, abs=0.15
    )


def test_single_rows_that_were_disturbed_do_not_move_the_stated_uncertainty() -> None:
    known = {key: (seconds(key), 0.01) for key in GRID}
    calm = GaussianPricer(known).scale
    known[GRID[40]] = (9 * seconds(GRID[40]), 0.4)
    assert GaussianPricer(known).scale == pytest.approx(calm, rel=0.3)


def test_a_table_gives_its_measured_rows_alone() -> None:
    header = TableHeader(name="x", device="X", runtime="onnxruntime", threads=1)
    fitted = Row(GRID[1], 1.0, 0.1, source="fitted")
    table = LatencyTable(header, [Row(GRID[0], 1e-5, 0.02), fitted])
    found = GaussianPricer.of(table).lookup(GRID[:2])
    assert found.source.tolist() == [MEASURED, FITTED]
    assert found.seconds[1] < 0.1


def test_covariances_are_computed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [conv(*each, 4) for each in product(range(1, 141), WIDTHS, SIZES)]
    whole = pricer(GRID).lookup(asked)
    monkeypatch.setattr(gaussian, "_AT_ONCE", 10_000)
    made = pricer(GRID)
    assert made.scale == pytest.approx(pricer(GRID).scale)
    tracemalloc.start()
    found = made.lookup(asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(found.seconds, whole.seconds, rtol=1e-9)
    np.testing.assert_allclose(found.spread, whole.spread, rtol=1e-9)
    assert peak < 8 * len(asked) * len(GRID)  # once all covariances; they took ten times that
