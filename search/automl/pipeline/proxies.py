"""What candidates are ranked as, in place of refitted networks, where a request asks for that."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from torch import nn

from automl.compression import AdaptiveNorms, Compressor, RefitSettings
from automl.errors import OptionError
from automl.network import TracedModel
from automl.options import REFIT, AskedSteps, SearchOptions, parse_steps
from automl.pipeline.requests import SearchRequest, Task
from automl.policy import Policy
from automl.recovery import TERMS, RecoveryData, RecoveryRecipe, ShortRecovery
from automl.space import Space, channel_counts
from automl.userdata import has_classes

#: Makes the network that stands for a policy's.
Candidates = Callable[[Policy], nn.Module]
#: Calibration inputs that a candidate's norms take their statistics on as they are put back.
_INPUTS: Final = 256
#: Passes over the data that a candidate's steps never come to.
_ENDLESS: Final = 1_000_000


def check_proxied(request: SearchRequest, traced: TracedModel) -> None:
    """Refuse a proxy that this network has nothing for, before anything costly is done.

    Raises:
        OptionError: There is no batch norm that could be re-estimated; or a loss that has no
            targets, or that compares what no two networks of other widths have in common.
    """
    if request.proxy != REFIT and not traced.norm_scales:
        raise OptionError(
            "proxy", f"{request.proxy} re-estimates batch norms, and this network has none"
        )
    if request.recover_in_loop is None:
        return
    labelled = all(targets is not None for _, targets in request.task.data.validation)
    for name in parse_steps(request.recover_in_loop).terms:
        method, term = TERMS.get(name), TERMS.build(name)
        if "labels" in method.needs and not labelled:
            raise OptionError("recover_in_loop", f"{name} needs targets, and the data has none")
        if term.reads_features or "original-norms" in method.needs:
            raise OptionError(
                "recover_in_loop",
                f"{name} reads places inside the network, which candidates do not all have: ask for"
                " kd or labels",
            )


def proxied(options: SearchOptions) -> str:
    """What candidates are when they are ranked, in words; "" for refitted."""
    if options.recover_in_loop is not None:
        asked = parse_steps(options.recover_in_loop)
        return f"refitted and trained by {'+'.join(asked.terms)} for {asked.steps} steps"
    return "" if options.proxy == REFIT else "raw L1 filters, norms re-estimated"


def ranked_as(options: SearchOptions) -> str:
    """What candidates are when they are ranked, in words."""
    return proxied(options) or "refitted on fewer images"


def make_candidates(
    request: SearchRequest, compressor: Compressor, space: Space, settings: RefitSettings
) -> Candidates | None:
    """What makes the candidates that are ranked; None where they are refitted and no more.

    Args:
        request: What is asked for.
        compressor: Of the network.
        space: What may be chosen.
        settings: Of a candidate's refit.
    """
    if request.recover_in_loop is not None:
        asked = parse_steps(request.recover_in_loop)
        return _short_recovery(asked, compressor, settings, request.task, request.seed)
    if request.proxy == REFIT:
        return None
    groups = (each for each in space.variables if each.kind == "channels")
    return AdaptiveNorms(compressor, {each.name: channel_counts(each) for each in groups})


def _short_recovery(
    asked: AskedSteps, compressor: Compressor, settings: RefitSettings, task: Task, seed: int
) -> ShortRecovery:
    training, dense = task.data.training, compressor.traced.model
    data = RecoveryData(
        [*task.data.calibration] if training is None else training,
        loaders=() if training is None else (training.source,),
        seed=seed,
    )
    return ShortRecovery(
        partial(compressor.make, settings=settings),
        dense,
        RecoveryRecipe(asked.terms, _ENDLESS, asked.steps),
        data,
        [compressor.images[:_INPUTS]],
        classes=has_classes(dense, task.data),
    )
