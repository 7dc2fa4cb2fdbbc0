"""Where a smaller input won narrowly, finished networks decide, not the quick refit of the loop.

The whole refit compensates more of what thin layers lost than the quick one of a search does, and a
larger input leaves thinner layers within the same budget. So scores in the loop favour small
inputs; docs/scoring.md has figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from automl.pipeline.context import SearchContext
from automl.study import Completed, StudyResult, judge

#: A win by so many standard errors of the difference, input by input, is not questioned.
_ERRORS: Final = 3.0
#: Rivals at most: each takes the time of a finishing step.
_MOST: Final = 2


def rivals_of(context: SearchContext, result: StudyResult, best: Completed) -> list[Completed]:
    """The best trial at each larger input that the best one does not clearly beat.

    None of scores that have no value an input, of trials that were given up early, and of a study
    that was interrupted.
    """
    values = None if result.interrupted else _values(context, best)
    if values is None:
        return []
    firsts: dict[int, Completed] = {}
    completed = [trial for trial in result.trials if isinstance(trial, Completed)]
    for trial in sorted(completed, key=lambda each: -each.score):
        larger = _resolution(context, trial) > _resolution(context, best)
        if larger and trial.images == best.images:
            firsts.setdefault(_resolution(context, trial), trial)
    found = []
    for trial in firsts.values():
        others = _values(context, trial)
        if others is None:
            continue
        ahead = values - others
        error = float(ahead.std(ddof=1)) / len(ahead) ** 0.5
        if float(ahead.mean()) <= _ERRORS * error:
            found.append(trial)
    return found[:_MOST]


def finish_best(
    context: SearchContext, best: Completed, rivals: Sequence[Completed]
) -> tuple[Completed, nn.Module]:
    """The trial whose finished network scores best on validation data, and that network."""
    compressor = context.compressor
    if not context.shared:
        compressor.forget(but=best.policy.resolution)
    model = compressor.make(best.policy)
    if not rivals:
        return best, model
    score = _judged(context, best, model)
    for rival in rivals:
        other = compressor.make(rival.policy)
        found = _judged(context, rival, other)
        if found > score:
            best, model, score = rival, other, found
    return best, model


def _judged(context: SearchContext, trial: Completed, model: nn.Module) -> float:
    score, validation = context.ranking.score, context.evaluator.validation
    limit = context.dense.seconds
    return judge(model, score, validation, trial.policy.resolution, seconds=limit)


def _values(context: SearchContext, trial: Completed) -> NDArray[np.float64] | None:
    """One score an input, found anew where it is not known; None where there is no such thing."""
    context.evaluator.evaluate_against(trial.policy, None)
    values = context.evaluator.recall(trial.policy)
    return values if len(values) > 1 else None


def _resolution(context: SearchContext, trial: Completed) -> int:
    return trial.policy.resolution or max(context.network.traced.network.resolutions, default=0)
