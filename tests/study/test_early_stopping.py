"""Giving candidates up: seldom wrongly, soon where they are worse, at once where all is lost."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from automl.study.early_stopping import should_stop

Floats = NDArray[np.float64]


def stopped_at(differences: Floats, most: float, chunk: int = 16, error: float = 0.01) -> int:
    """After how many images the candidate is given up, all where it is not."""
    images = len(differences)
    for seen in range(chunk, images, chunk):
        if should_stop(differences[:seen], images, most, error):
            return seen
    return images


def classes(better: int, worse: int, images: int) -> Floats:
    """Differences of two models' accuracy."""
    return np.array([1.0] * better + [-1.0] * worse + [0.0] * (images - better - worse))


def errors(generator: np.random.Generator, images: int, shift: float) -> tuple[Floats, float]:
    """Differences of two heavy-tailed errors whose mean is -shift, and the largest possible."""
    incumbent, candidate = generator.gamma(0.4, 1.0, (2, images))
    differences = incumbent - candidate
    differences += -shift - differences.mean()
    return differences, float(max(incumbent.max(), differences.max()))


@pytest.mark.parametrize("error", [0.01, 0.1])
def test_an_equal_candidate_is_given_up_no_more_often_than_stated(error: float) -> None:
    generator = np.random.default_rng(0)
    kinds = [(classes(20, 20, 200), 1.0), errors(generator, 200, 0.0)]
    for differences, most in kinds:
        runs = 600
        wrong = sum(
            stopped_at(generator.permutation(differences), most, error=error) < 200
            for _ in range(runs)
        )
        # Three standard deviations above the stated share.
        assert wrong <= runs * error + 3 * (runs * error * (1 - error)) ** 0.5


def test_a_worse_candidate_is_given_up_the_sooner_the_worse_it_is() -> None:
    generator = np.random.default_rng(1)
    share = {
        worse: np.mean(
            [stopped_at(generator.permutation(classes(20, worse, 1000)), 1.0) for _ in range(60)]
        )
        / 1000
        for worse in (40, 80, 300)
    }
    assert share[300] < share[80] < share[40] < 0.9
    assert share[300] < 0.1
    drawn = [errors(generator, 1000, 0.3) for _ in range(60)]
    assert np.mean([stopped_at(differences, most) for differences, most in drawn]) < 500


def test_a_better_candidate_goes_on() -> None:
    assert stopped_at(classes(60, 20, 400), 1.0) == 400
    assert not should_stop(np.empty(0), 10, 1.0)


def test_what_cannot_be_made_up_for_is_lost_for_certain() -> None:
    assert should_stop(np.array([-1.0, -1.0, -1.0]), 5, 1.0)  # two images are left
    assert not should_stop(np.array([-1.0, -1.0]), 5, 1.0)
    assert should_stop(
        np.array([0.0, -1e-9]), 100, 0.0
    )  # the incumbent has the best value everywhere
    assert not should_stop(np.zeros(5), 100, 0.0)


def test_nothing_is_said_of_what_is_no_number() -> None:
    assert not should_stop(np.array([-1.0, np.nan, -1.0]), 100, 1.0)
