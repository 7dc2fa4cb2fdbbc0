import math

import numpy as np
import pytest

from automl.compression.kinds.curve import MANY, curve, shares

COUNTS = tuple(range(8, 128, 8))
PLACES = shares(COUNTS, 128)


def counted(values: list[float]) -> tuple[list[float], list[int]]:
    """What the curve says of values, and which of them it asked for."""
    asked = list[int]()

    def measure(index: int) -> float:
        asked.append(index)
        return values[index]

    return list(curve(measure, PLACES[: len(values)])), asked


def test_a_power_of_what_goes_over_what_stays_takes_three() -> None:
    values = [3.0 * ((128 - count) / count) ** 1.7 for count in COUNTS]
    found, asked = counted(values)
    assert found == pytest.approx(values)
    assert sorted(asked) == [0, 7, 14]


def test_what_is_measured_is_told_as_it_was() -> None:
    values = [math.exp(-(index**1.5)) for index in range(len(COUNTS))]
    found, asked = counted(values)
    assert [found[index] for index in asked] == [values[index] for index in asked]
    assert len(set(asked)) == len(asked)


def test_a_step_is_looked_at_closely() -> None:
    values = [1.0] * 5 + [1e-3] * 10
    found, asked = counted(values)
    assert found == pytest.approx(values)
    assert len(asked) < len(values)


def test_what_lies_between_differs_little_where_the_curve_bends() -> None:
    values = [((128 - count) / 128) ** 2.2 for count in COUNTS]
    found, asked = counted(values)
    assert np.abs(np.log(np.array(found) / values)).max() < 0.2
    assert len(asked) < len(values)


@pytest.mark.parametrize("count", [0, 1, 2, MANY - 1])
def test_few_are_all_measured(count: int) -> None:
    values = ([5.0, 0.1, 3.0] * 3)[:count]
    found, asked = counted(values)
    assert found == values
    assert sorted(asked) == list(range(count))


def test_what_does_nothing_is_no_trouble() -> None:
    found, _ = counted([0.0] * 15)
    assert max(found) < 1e-9
