"""One bad trial does not flatten the others, and no axis is cut for nothing."""

from __future__ import annotations

import random

import pytest

from automl.report.ranges import lowest_shown

NEAR = [0.93, 0.925, 0.92, 0.915, 0.91]


def test_a_trial_at_chance_is_left_below() -> None:
    low = lowest_shown([*NEAR, 0.1])
    assert low is not None
    assert 0.1 < low < min(NEAR)


def test_several_are_as_well_while_they_are_fewer_than_half() -> None:
    low = lowest_shown([*NEAR, 0.1, 0.11, 0.12, 0.1])
    assert low is not None
    assert 0.12 < low < min(NEAR)
    assert lowest_shown([*NEAR, *[0.1] * 9]) is None  # most are: what is drawn is as it is


@pytest.mark.parametrize(
    "scores", [[], [0.5], [0.5, 0.5], NEAR, [0.1, 0.9], [-3.0, -2.0, -1.0, 0.0], [0.9, 0.9, 0.1]]
)
def test_what_lies_near_is_shown_whole(scores: list[float]) -> None:
    assert lowest_shown(scores) is None


def test_an_even_spread_is_never_cut() -> None:
    generator = random.Random(0)
    for _ in range(50):
        assert lowest_shown([generator.uniform(0.2, 0.9) for _ in range(40)]) is None


def test_the_scale_is_no_matter() -> None:
    low = lowest_shown([*NEAR, 0.1])
    assert low is not None
    moved = lowest_shown([30.0 * each - 7.0 for each in [*NEAR, 0.1]])
    assert moved == pytest.approx(30.0 * low - 7.0)
