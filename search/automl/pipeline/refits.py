"""A refit that made it worse is left out, where validation data can tell.

By what candidates are ranked by, for of a few hundred inputs the share that is right tells little:
with the refit EfficientNet-Lite1 without five blocks was four times as far from the dense network's
classes, and 2.8 points of 250 photos worse. But least squares make a network less sure of itself;
so where the score that was asked for is better with it, it stays.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from torch import nn

from automl.compression import CompressionConfig
from automl.pipeline.context import SearchContext
from automl.pipeline.requests import Task
from automl.study import Completed, Judgement, judge_each
from automl.userdata import Score

#: How a policy says that nothing was refitted.
RAW: Final = "raw"
#: A loss by so many standard errors of the difference, input by input, is none of chance; of fewer
#: inputs its error is not known.
_ERRORS: Final = 2.0
_INPUTS: Final = 10


def without_bad_refit(
    context: SearchContext, task: Task, trial: Completed, model: nn.Module
) -> tuple[nn.Module, CompressionConfig, tuple[str, ...]]:
    """The finished network, or that from before its refit where that scores better.

    Args:
        context: Of the search.
        task: Whose score has the last word.
        trial: Whose network it is.
        model: Finished as the search's config says.

    Returns:
        The network, by what it was made, and what the user should know.
    """
    config = context.compressor.config
    if config.reconstruction == RAW:
        return model, config, ()

    def judged(network: nn.Module, score: Score) -> Judgement:
        seen, limit = context.evaluator.validation, context.dense.seconds
        return judge_each(network, score, seen, trial.policy.resolution, seconds=limit)

    found = judged(model, context.ranking.score)
    if found.values is None or len(found.values) < _INPUTS:
        return model, config, ()  # nobody knows what is chance
    before = context.compressor.make(trial.policy, finish=False)
    other = judged(before, context.ranking.score)
    if not _worse(found, other):
        return model, config, ()
    if context.ranking.score is not task.score:
        asked, without = judged(model, task.score), judged(before, task.score)
        if asked.score > without.score:
            return model, config, ()
    note = (
        f"the refit made it worse on the validation data ({found.score:.4g}, {other.score:.4g}"
        " before it): the weights are those from before it"
    )
    return before, replace(config, reconstruction=RAW), (note,)


def _worse(found: Judgement, other: Judgement) -> bool:
    """By more than chance."""
    if found.values is None or other.values is None:
        return False
    gaps = other.values - found.values
    return bool(gaps.mean() > _ERRORS * gaps.std(ddof=1) / len(gaps) ** 0.5)
