"""Fitted times follow the rows that were measured."""

from __future__ import annotations

import numpy as np
import pytest

from automl.latency.corrected import CorrectedPricer
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.latency.targets import find_table

CONVS = [
    OpKey("conv2d", 16, width, (3, 3), padding=(1, 1), in_size=(8, 8), out_size=(8, 8))
    for width in (8, 16, 32, 64, 128)
]
LINEAR = [OpKey("linear", 64, width) for width in (10, 100, 1000)]


def table(conv: float, linear: float) -> LatencyTable:
    """Three convolutions and one linear layer measured, so many times what is predicted."""
    shipped = find_table("rpi4")
    keys = [*CONVS[:3], LINEAR[0]]
    seconds, _ = shipped.predict(keys)
    rows = [
        Row(key, time * (linear if key.op == "linear" else conv))
        for key, time in zip(keys, seconds.tolist(), strict=True)
    ]
    return LatencyTable(shipped.header, rows)


def test_fitted_times_are_scaled_and_rows_are_not() -> None:
    found = table(0.5, 4.0)
    plain, corrected = (
        found.lookup([*CONVS, *LINEAR]),
        CorrectedPricer(found).lookup([*CONVS, *LINEAR]),
    )
    ratio = corrected.seconds / plain.seconds
    assert ratio[[0, 1, 2, 5]] == pytest.approx(1.0)
    assert ratio[3:5] == pytest.approx(0.5)
    assert ratio[6:] == pytest.approx(0.5)  # one linear layer is too few: the median over all
    assert (corrected.source == plain.source).all()


def test_without_rows_or_predictor_nothing_changes() -> None:
    for plain in (
        find_table("rpi4"),
        LatencyTable(
            table(1, 1).header.model_copy(update={"coefficients": None}), table(1, 1).rows
        ),
    ):
        seconds = plain.lookup(CONVS).seconds
        assert np.array_equal(CorrectedPricer(plain).lookup(CONVS).seconds, seconds, equal_nan=True)
