"""How well what a network scores and takes is known."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from automl.pipeline.requests import Metrics, Task
from automl.profiling import Timing
from automl.userdata import ACCURACY_NAME


def with_errors(metrics: Metrics, task: Task, timing: Timing | None) -> Metrics:
    """Metrics with the standard error of an accuracy, and the spread of what was measured.

    Args:
        metrics: Of one network.
        task: Whose judging inputs are right or wrong, each by itself.
        timing: Of the network; None where it was not measured.
    """
    score, error = metrics.score, None
    if task.score_name == ACCURACY_NAME and score is not None and 0.0 <= score <= 1.0:
        error = sqrt(score * (1.0 - score) / task.judged_on.images)
    spread = None if timing is None else timing.spread
    return replace(metrics, score_error=error, measured_spread=spread)
