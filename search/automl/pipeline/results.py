"""From a study to what the user is given: the best policy's network, measured, and all files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from automl import __version__
from automl.agents import AGENTS
from automl.compression import (
    CompressionConfig,
    QuantizedModel,
    digest_of,
    images_used,
    in_half,
    ranked_otherwise,
    short_of_rows,
)
from automl.cost import Cost, with_bits_that_run
from automl.export import export_onnx, onnx_bytes
from automl.network import TracedModel
from automl.pipeline.certainty import with_errors
from automl.pipeline.clock import time_here
from automl.pipeline.context import DenseScore, SearchContext, config_of
from automl.pipeline.counting import with_counts
from automl.pipeline.log import Log
from automl.pipeline.networks import input_shape, size_notes
from automl.pipeline.on_board import timed_here
from automl.pipeline.on_the_clock import over_on_the_clock
from automl.pipeline.precision import floats_of, scheme_of
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.proxies import ranked_as
from automl.pipeline.record import write_outcome
from automl.pipeline.refits import without_bad_refit
from automl.pipeline.requests import Event, Metrics, SearchRequest, SearchResult
from automl.pipeline.rivals import finish_best
from automl.pipeline.study_notes import alone_notes, chance_notes, held_notes
from automl.pipeline.writing import examples, packs, save_packed, save_weights
from automl.policy import (
    MadeWith,
    Model,
    Policy,
    PolicyFile,
    PolicyTarget,
    Predicted,
    choices,
    write_policy,
)
from automl.profiling import Timing
from automl.study import Completed, Ranking, StudyResult, judge_each


@dataclass(frozen=True, slots=True)
class FinishedPolicy:
    """A policy with its network, not yet judged or written.

    Attributes:
        policy, model: What was chosen, and what it became.
        trials: So many were in the study.
        interrupted: The study was cut short.
        made_with: By what the network's weights were made.
        notes: What the user should know of how it was found.
    """

    policy: Policy
    model: nn.Module
    made_with: MadeWith
    trials: int
    interrupted: bool
    notes: tuple[str, ...]


def finish(
    context: SearchContext,
    request: SearchRequest,
    result: StudyResult,
    best: Completed,
    log: Log,
    rivals: Sequence[Completed] = (),
) -> SearchResult:
    """Finish, measure and write one policy that a study of this context scored.

    Args:
        context: Of the study.
        request: What was asked for.
        result: The study.
        best: Its best trial.
        log: Of the run folder.
        rivals: Trials that the best one is held against once they are finished (`rivals_of`).
    """
    compressor, network = context.compressor, context.network
    write_best(context, request, best)  # safe from here on
    write_front([_scored(context, request, trial) for trial in result.front], request.out / "front")
    warned = chance_notes(context, request, best)
    for note in warned:
        log(Event(note, 0, 1))
    log(Event("finishing", 0, 1))
    best, model = finish_best(context, best, rivals)
    model, config, bad = without_bad_refit(context, request.task, best, model)
    made_with = describe_making(config, compressor.inputs_digest)
    if not context.shared:
        compressor.forget()  # exporting takes memory of its own
    ranked = (context.ranking.note,) if context.ranking.note else ()
    alone = alone_notes(request, result, best, network.costs.dense, context.ranking.dense)
    notes = (*warned, *bad, *ranked, *alone, *held_notes(request.agent, result.held))
    study = len(result.trials), result.interrupted
    finished = FinishedPolicy(best.policy, model, made_with, *study, notes)
    return _judged_and_written(finished, network, context.dense, request, log)


def write_best(context: SearchContext, request: SearchRequest, best: Completed) -> None:
    """Write the policy of a trial, as the search scored it, as the run's."""
    write_policy(_scored(context, request, best), request.out / "policy.json")


def _scored(context: SearchContext, request: SearchRequest, trial: Completed) -> PolicyFile:
    compressor = context.compressor
    made_with = describe_making(compressor.config, compressor.inputs_digest)
    file = policy_file(request, context.network, trial.policy, made_with)
    return _with_score(file, trial, request, context.ranking)


def finish_dense(network: PricedNetwork, request: SearchRequest, log: Log) -> SearchResult:
    """Nothing to search for: the dense network is written, and it is said so."""
    policy = replace(network.space.decode(network.space.dense), bits={})
    write_front([], request.out / "front")
    notes = ("the dense model meets this budget already",)
    config = config_of(request)
    images = images_used(request.task.data.calibration.by_number, config)
    made_with = describe_making(config, digest_of(images))
    finished = FinishedPolicy(policy, network.traced.model, made_with, 0, False, notes)
    half = floats_of(network.table.header) == "fp16"
    limit = request.score_timeout
    dense = DenseScore(network.traced.model, request.task, limit, half=half)
    return _judged_and_written(finished, network, dense, request, log)


def _judged_and_written(
    finished: FinishedPolicy,
    network: PricedNetwork,
    reference: DenseScore,
    request: SearchRequest,
    log: Log,
) -> SearchResult:
    """Judge the finished network once, measure it, write everything."""
    task, costs, policy, model = request.task, network.costs, finished.policy, finished.model
    batches = task.judged_on
    scored_on = f"{batches.images:,} {'test' if task.data.test else 'validation'} inputs"
    before = reference.judged
    half, limit = floats_of(network.table.header) == "fp16", request.score_timeout
    after = judge_each(
        in_half(model) if half else model, task.score, batches, policy.resolution, seconds=limit
    )
    file = policy_file(request, network, policy, finished.made_with)
    file = file.with_score(after.score, scored_on)
    write_policy(file, request.out / "policy.json")
    log(Event("exporting", 0, 1))
    _write_model(finished, network, request, half=half)
    log(Event("measuring the result", 0, 1))
    timings = _measured(network, model, policy, request.threads)
    measured = {name: each.seconds for name, each in timings.items()}
    file = _with_times(file, network, measured, request)
    over = over_on_the_clock(request.budget, measured)
    dense, compressed, counted = with_counts(
        with_errors(metrics(network, costs.dense), before, None, timings.get("dense")),
        with_errors(metrics(network, costs.cost(policy)), after, before, timings.get("compressed")),
        network.traced,
        model,
        policy,
    )
    log(Event("done", 1, 1))
    found = SearchResult(
        model=model.eval(),
        dense=dense,
        compressed=compressed,
        policy=file,
        policy_path=request.out / "policy.json",
        out=request.out,
        trials=finished.trials,
        target=network.description,
        scored_on=scored_on,
        interrupted=finished.interrupted,
        notes=(*over, *counted, *finished.notes, *_notes(request, network)),
        stages=log.stages,
    )
    write_outcome(found, network, policy, request)
    return found


def _write_model(
    finished: FinishedPolicy, network: PricedNetwork, request: SearchRequest, *, half: bool
) -> None:
    """The model's weights, those packed into their bits, and its ONNX file."""
    model, policy = finished.model, finished.policy
    save_weights(model, request.out / "model.pt")
    if isinstance(model, QuantizedModel) or packs(policy):
        save_packed(model, request.out / "model.weights", policy)
    shape = input_shape(network.traced, policy)
    inputs = examples(request.task, policy, shape)
    path = request.out / "model.onnx"
    export_onnx(model, shape, path, inputs, half=half, here=network.here)


def _measured(
    network: PricedNetwork, model: nn.Module, policy: Policy, threads: int
) -> dict[str, Timing]:
    """Times of the dense and the finished network; none where the target is not this machine."""
    if not network.here:
        return {}
    traced = network.traced
    models = {
        "dense": onnx_bytes(traced.model, traced.network.input_shape),
        "compressed": onnx_bytes(model, input_shape(traced, policy)),
    }
    return time_here(models, threads)


def _with_times(
    file: PolicyFile, network: PricedNetwork, seconds: dict[str, float], request: SearchRequest
) -> PolicyFile:
    """The policy with what this machine took, written; as it is where nothing was measured."""
    if not seconds:
        return file
    measured = timed_here(network.table.header, seconds, request.threads)
    file = file.model_copy(update={"measured": measured})
    write_policy(file, request.out / "policy.json")
    return file


def metrics(network: PricedNetwork, cost: Cost) -> Metrics:
    """What a model costs; it is neither scored nor measured."""
    kept = predicted(network, cost)
    return Metrics(
        None,
        kept.latency_seconds,
        kept.latency_error,
        None,
        cost.macs,
        cost.bytes,
        kept.joules,
        kept.latency_cycles,
        at_least=kept.at_least,
    )


def predicted(network: PricedNetwork, cost: Cost) -> Predicted:
    """A cost as a policy file keeps it."""
    timed = not np.isnan(cost.latency)
    simulated = network.table.header.unit == "cycles"
    return Predicted(
        latency_seconds=cost.latency if timed and not simulated else None,
        latency_cycles=cost.latency if timed and simulated else None,
        latency_error=network.error if timed else None,
        macs=cost.macs,
        bytes=cost.bytes,
        joules=None if np.isnan(cost.joules) else cost.joules,
        measured=cost.measured if timed else 0.0,
        interpolated=cost.interpolated if timed else 0.0,
        fitted=cost.fitted if timed else 0.0,
        at_least=timed and bool(cost.unpriced),
    )


def describe_making(config: CompressionConfig, inputs_digest: str) -> MadeWith:
    """A config as a policy file keeps it, with what identifies the calibration inputs."""
    return MadeWith(
        importance=config.importance,
        compensation=config.compensation,
        reconstruction=config.reconstruction,
        quantization=config.quantization,
        calibration=config.calibration,
        seed=config.seed,
        inputs_digest=inputs_digest,
        memory=config.memory,
    )


def policy_file(
    request: SearchRequest, network: PricedNetwork, policy: Policy, made_with: MadeWith
) -> PolicyFile:
    """The policy with its origin, not yet scored; bits are those of layers that run."""
    traced, header = network.traced.network, network.table.header
    return PolicyFile(
        automl=__version__,
        model=Model(
            name=request.task.model_name,
            fingerprint=traced.fingerprint,
            input_shape=traced.input_shape,
        ),
        target=PolicyTarget(
            name=request.target,
            description=network.description,
            table_digest=network.table.digest,
            scheme=scheme_of(header),
            floats=floats_of(header),
        ),
        budget=request.budget,
        made_with=made_with,
        predicted=predicted(network, network.costs.cost(policy)),
        dense=predicted(network, network.costs.dense),
        agent=request.agent,
        seed=request.seed,
        **choices(with_bits_that_run(traced, policy), traced),
    )


def write_front(front: Sequence[PolicyFile], folder: Path) -> None:
    """A front's policies by number, those of an earlier and longer front removed."""
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(front):
        write_policy(file, folder / f"{number:03d}.json")
    for path in folder.glob("*.json"):
        if path.stem.isdecimal() and int(path.stem) >= len(front):
            path.unlink()


def _with_score(
    file: PolicyFile, trial: Completed, request: SearchRequest, ranking: Ranking
) -> PolicyFile:
    """A trial's policy with the score that the search gave it."""
    images = trial.images or request.task.data.validation.images
    what = f"{ranking.name} of " if ranking.name else ""
    return file.with_score(trial.score, f"{what}{images:,} validation inputs, {ranked_as(request)}")


def _short_notes(request: SearchRequest, traced: TracedModel) -> tuple[str, ...]:
    """What to say of layers that have fewer rows than columns on the calibration inputs."""
    inputs = min(request.task.data.calibration.images, request.calibration)
    short = short_of_rows(traced.model, traced.trace, inputs)
    if not short:
        return ()
    name = min(short, key=lambda each: short[each][0] / short[each][1])
    (rows, columns), more = short[name], f" and {len(short) - 1} more" if len(short) > 1 else ""
    needed = -(-columns * inputs // rows)
    return (
        f"fewer calibration inputs than {name}{more} need to be refitted freely: {inputs:,} of"
        f" {needed:,}; such layers are held to their weights",
    )


def _notes(request: SearchRequest, network: PricedNetwork) -> tuple[str, ...]:
    by_reason: dict[str, list[str]] = {}
    for part in network.traced.network.unprunable:
        by_reason.setdefault(part.reason, []).append(part.name)
    unprunable = [
        f"left alone: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({why})"
        for why, names in by_reason.items()
    ]
    cold = not request.warm_start and not AGENTS.takes(request.agent, "warm_start")
    without = [f"{request.agent} has no warm start to do without"] if cold else []
    task = request.task
    sizes = size_notes(task.input_shape, task.data.input_shape)
    ranked = ranked_otherwise(request.importance, network.traced)
    short = _short_notes(request, network.traced)
    return (*short, *task.notes, *without, *sizes, *ranked, *network.notes, *unprunable)
