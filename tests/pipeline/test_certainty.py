"""Errors are told where they are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import task

from automl.pipeline.certainty import with_errors
from automl.pipeline.requests import Metrics
from automl.profiling.measuring import Timing
from automl.userdata import ACCURACY_NAME

METRICS = Metrics(0.8, 1e-3, 0.1, 1.1e-3, 100.0, 10.0)


def test_an_accuracy_has_the_error_of_its_inputs() -> None:
    found = with_errors(METRICS, replace(task(), score_name=ACCURACY_NAME), Timing(1e-3, 0.02, 9))
    assert found.score_error == pytest.approx((0.8 * 0.2 / 4) ** 0.5)
    assert found.measured_spread == 0.02


def test_of_other_scores_it_is_not_known() -> None:
    assert with_errors(METRICS, task(), None) == METRICS
    unscored = replace(METRICS, score=None)
    assert with_errors(unscored, replace(task(), score_name=ACCURACY_NAME), None) == unscored
