"""What to say of a study to whom its result is given."""

from __future__ import annotations

import numpy as np

from automl.cost import Cost
from automl.pipeline.context import SearchContext
from automl.pipeline.requests import SearchRequest
from automl.study import Completed, StudyResult, chance_level


def chance_notes(
    context: SearchContext, request: SearchRequest, best: Completed
) -> tuple[str, ...]:
    """What to say where the best candidate does what one could do without seeing the input."""
    validation, score = request.task.data.validation, context.ranking.score
    level = chance_level(best.score, score, context.network.traced.model, validation)
    if level is None:
        return ()
    return (
        f"the best found is at chance: it scores {best.score:.3g} on validation inputs, where a "
        f"network that ignores its input scores up to {level:.3g}; within this budget the space "
        "holds nothing that works: allow more, or open more choices",
    )


def held_notes(agent: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """What to say of kinds of choices that the agent did not make."""
    if not kinds:
        return ()
    return (f"{agent} does not choose {' and '.join(kinds)}: held as in the dense model",)


def alone_notes(
    request: SearchRequest,
    result: StudyResult,
    best: Completed,
    dense: Cost,
    dense_score: float | None,
) -> tuple[str, ...]:
    """What to say where a study ended by itself after its first policy.

    Args:
        request: What was asked for.
        result: The study.
        best: Its best trial.
        dense: What the dense network costs.
        dense_score: What it scores on what candidates are scored on; None where that is not known.
    """
    if result.interrupted or request.trials == 1 or request.seconds or len(result.trials) != 1:
        return ()
    if dense_score is not None and best.score >= dense_score:
        return (
            "one policy was tried: on validation inputs it scores no less than the dense network",
        )
    cost = best.cost
    timed = not np.isnan(dense.latency)
    share = 100 * (cost.latency / dense.latency if timed else cost.macs / dense.macs)
    return (
        f"one policy was tried: all else {request.agent} finds within the budget seems hopeless"
        f"; it has {share:.1f} % of the dense {'latency' if timed else 'MACs'}: allow more",
    )
