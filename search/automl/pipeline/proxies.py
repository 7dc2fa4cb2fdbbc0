"""What candidates are ranked as, in place of refitted networks, where a request asks for that."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from torch import nn

from automl.compression import AdaptiveNorms, Compressor, RefitSettings, norm_batches
from automl.errors import OptionError, StudyError
from automl.network import TracedModel, with_norms
from automl.options import REFIT, AskedSteps, AskedSupernet, SearchOptions, parse_steps, supernet_of
from automl.pipeline.requests import Event, OnEvent, SearchRequest, Task
from automl.policy import Policy
from automl.recovery import (
    TERMS,
    RecoveryData,
    RecoveryRecipe,
    ShortRecovery,
    SlicedWeights,
    Supernet,
    TrainingLimit,
)
from automl.space import Space, channel_counts
from automl.userdata import data_digest, has_classes

#: Makes the network that stands for a policy's.
Candidates = Callable[[Policy], nn.Module]
#: Calibration inputs that a candidate's norms take their statistics on as they are put back.
_INPUTS: Final = 256
#: In the run folder: its weights, as it is trained.
SUPERNET: Final = "supernet.pt"
#: Passes over the data that a candidate's steps never come to.
_ENDLESS: Final = 1_000_000


def check_proxied(request: SearchRequest, traced: TracedModel) -> None:
    """Refuse a proxy that this network has nothing for, before anything costly is done.

    Raises:
        OptionError: There is no batch norm that could be re-estimated; or a loss that has no
            targets, or that compares what no two networks of other widths have in common.
    """
    for name, given in (("proxy", request.proxy != REFIT), ("supernet", request.supernet)):
        if given and not traced.norm_scales:
            raise OptionError(name, "re-estimates batch norms, and this network has none")
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
    if options.supernet is not None:
        return f"slices of a supernet of {options.supernet}"
    return "" if options.proxy == REFIT else "raw L1 filters, norms re-estimated"


def ranked_as(options: SearchOptions) -> str:
    """What candidates are when they are ranked, in words."""
    return proxied(options) or "refitted on fewer images"


def make_candidates(
    request: SearchRequest,
    compressor: Compressor,
    space: Space,
    settings: RefitSettings,
    on_event: OnEvent,
) -> Candidates | None:
    """What makes the candidates that are ranked; None where they are refitted and no more.

    Args:
        request: What is asked for.
        compressor: Of the network.
        space: What may be chosen.
        settings: Of a candidate's refit.
        on_event: Told of progress.

    Raises:
        StudyError: A supernet of another search is in the run folder.
    """
    if request.recover_in_loop is not None:
        asked = parse_steps(request.recover_in_loop)
        return _short_recovery(asked, compressor, settings, request.task, request.seed)
    if request.supernet is not None:
        return _supernet(supernet_of(request.supernet), compressor, space, request, on_event)
    if request.proxy == REFIT:
        return None
    groups = (each for each in space.variables if each.kind == "channels")
    return AdaptiveNorms(compressor, {each.name: channel_counts(each) for each in groups})


def _short_recovery(
    asked: AskedSteps, compressor: Compressor, settings: RefitSettings, task: Task, seed: int
) -> ShortRecovery:
    dense = compressor.traced.model
    return ShortRecovery(
        partial(compressor.make, settings=settings),
        dense,
        RecoveryRecipe(asked.terms, _ENDLESS, asked.steps),
        _trained_on(task, seed),
        norm_batches(compressor.images[:_INPUTS]),
        classes=has_classes(dense, task.data),
    )


def _supernet(
    asked: AskedSupernet,
    compressor: Compressor,
    space: Space,
    request: SearchRequest,
    on_event: OnEvent,
) -> Supernet:
    """Trained, or read where it was trained before.

    Raises:
        StudyError: What is in its place is of another search, or it cannot be written.
    """
    dense, network = compressor.traced.model, compressor.traced.network
    inputs = norm_batches(compressor.images[:_INPUTS])
    made = Supernet(
        SlicedWeights(with_norms(dense, inputs), network, compressor.database.kept),
        space,
        dense,
        _trained_on(request.task, request.seed),
        inputs,
        classes=has_classes(dense, request.task.data),
    )
    path, limit = request.out / SUPERNET, TrainingLimit(asked.steps, asked.seconds)
    try:
        made.train(
            limit,
            path,
            lambda share: on_event(Event("training a supernet", int(100 * share), 100)),
        )
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise StudyError(message, options=("out",)) from error
    return made


def _trained_on(task: Task, seed: int) -> RecoveryData:
    """The training data; the calibration inputs where that can be read only once."""
    training = task.data.training
    if training is None:
        return RecoveryData([*task.data.calibration], seed=seed, digest=data_digest(task.data))
    return RecoveryData(
        training, loaders=(training.source,), seed=seed, digest=data_digest(task.data)
    )
