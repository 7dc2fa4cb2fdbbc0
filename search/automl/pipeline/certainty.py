"""How well what networks score and take is known."""

from __future__ import annotations

from dataclasses import replace

from automl.pipeline.requests import Metrics
from automl.profiling import Timing
from automl.study import Judgement


def with_errors(
    metrics: Metrics,
    judged: Judgement,
    beside: Judgement | None = None,
    timing: Timing | None = None,
) -> Metrics:
    """Metrics with a score and its standard errors, and what was measured with its spread.

    What is not known stays None: of a score that gives one number for all inputs no error is.

    Args:
        metrics: Of one network.
        judged: What it scores.
        beside: What the dense network scores on the same inputs; None for itself.
        timing: Of the network; None where it was not measured.
    """
    return replace(
        metrics,
        score=judged.score,
        measured_seconds=None if timing is None else timing.seconds,
        score_error=judged.error,
        change_error=None if beside is None else judged.error_beside(beside),
        measured_spread=None if timing is None else timing.spread,
    )
