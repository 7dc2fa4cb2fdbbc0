"""Durations for people."""

from __future__ import annotations

import pytest

from automl.cli.durations import duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (125.0, "2 min 5 s"),
        (700.0, "11 min"),
        (3600.0, "1 h"),
        (9000.0, "2 h 30 min"),
    ],
)
def test_one_or_two_units_say_it(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
