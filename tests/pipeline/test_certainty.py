"""Errors are told where they are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from automl.pipeline.certainty import with_errors
from automl.pipeline.requests import Metrics
from automl.profiling.measuring import Timing
from automl.study import Judgement

METRICS = Metrics(None, 1e-3, 0.1, None, 100.0, 10.0)
RIGHT = np.array([1.0, 1.0, 1.0, 0.0])


def test_a_score_has_the_error_of_its_inputs() -> None:
    dense = Judgement(0.5, np.array([1.0, 1.0, 0.0, 0.0]))
    found = with_errors(METRICS, Judgement(0.75, RIGHT), dense, Timing(1e-3, 0.02, 9))
    assert found.score_error == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    assert found.change_error == pytest.approx(0.25)  # one of four differs, by one
    assert (found.measured_seconds, found.measured_spread) == (1e-3, 0.02)


def test_the_dense_network_is_beside_none() -> None:
    assert with_errors(METRICS, Judgement(0.75, RIGHT)).change_error is None


def test_of_one_number_for_all_inputs_it_is_not_known() -> None:
    found = with_errors(METRICS, Judgement(0.7), Judgement(0.75, RIGHT))
    assert found == replace(METRICS, score=0.7)
