"""What is done with a policy: make its model, or measure it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from automl.compression import CompressionConfig, Compressor, QuantizedModel, in_half
from automl.errors import UsageError
from automl.export import onnx_bytes
from automl.latency import find_table, is_cpu_table
from automl.network import TracedModel, fingerprint_of, trace_network
from automl.options import CALIBRATION, MEMORY
from automl.pipeline.certainty import with_errors
from automl.pipeline.counting import with_counts
from automl.pipeline.delivering import check_format, described, export_as
from automl.pipeline.labelling import labelled
from automl.pipeline.lineage import PolicyFolder, staged_model
from automl.pipeline.networks import input_shape, size_notes, timed_onnx
from automl.pipeline.on_board import measure_on_board, timed_here
from automl.pipeline.ownership import refuse_running
from automl.pipeline.precision import check_bits, precisions_of, used_names
from automl.pipeline.pricing import describe, measure_here
from automl.pipeline.recovering import (
    check_hooks,
    check_places,
    plan_recovery,
    recovered,
)
from automl.pipeline.requests import (
    ApplyRequest,
    ApplyResult,
    Event,
    Metrics,
    OnEvent,
    Task,
    VerifyRequest,
    VerifyResult,
    ignore,
)
from automl.pipeline.scalars import FOLDER, with_scalars
from automl.pipeline.writing import examples, save_packed, save_weights
from automl.policy import (
    Measured,
    PolicyFile,
    Predicted,
    check_fits,
    write_policy,
)
from automl.study import judge_each


def apply(request: ApplyRequest, on_event: OnEvent = ignore) -> ApplyResult:
    """Make a policy's model: smaller tensors, refitted, trained if asked, written, exported.

    Raises:
        LockedError: A search is running in a folder that files are written to.
        PolicyError: The policy is for another model.
        UsageError: A recovery that cannot be: of a policy that rounds weights alone, or without
            what it needs; a file of floats for a policy that computes in integers; scalars, and
            tensorboard is not installed.
        ModelError: The exported file computes something else than the model.
    """
    for path in filter(None, (request.out, request.export, request.packed)):
        refuse_running(path.parent)
    if not request.tensorboard:
        return _apply(request, on_event)
    with with_scalars(request.out.parent / FOLDER / request.out.stem, on_event) as listen:
        return _apply(request, listen)


def _apply(request: ApplyRequest, on_event: OnEvent) -> ApplyResult:
    file, task, policy = request.policy, request.task, request.policy.policy
    traced = _read(task, file)
    plan = plan_recovery(request)
    check_places(plan, traced, policy)
    check_hooks(plan, traced, policy)
    check_format(request.export, policy, traced)
    on_event(Event("calibrating", 0, 3))
    traced, model, kept, differing = _made(request, traced, on_event)
    model, trained = recovered(plan, request, traced, model, kept, on_event)
    batches = task.judged_on
    half = file.target.floats == "fp16"
    models = map(in_half, (traced.model, model)) if half else (traced.model, model)
    dense, small = (
        judge_each(each, task.score, batches, size)
        for each, size in zip(models, (0, policy.resolution), strict=True)
    )
    save_weights(model, request.out)
    difference = None
    if request.export is not None:
        on_event(Event("exporting", 2, 3))
        shape = input_shape(traced, policy)
        inputs = examples(task, policy, shape)
        difference = export_as(
            request.export, model, shape, inputs, half=half, what=described(file)
        )
    before = with_errors(_metrics(file.dense, None), dense)
    after = with_errors(_metrics(file.predicted, None), small, dense)
    before, after, notes = with_counts(before, after, traced, model, policy)
    return ApplyResult(
        model=model,
        dense=before,
        compressed=after,
        scored_on=f"{batches.images:,} {'test' if task.data.test else 'validation'} inputs",
        weights_path=request.out,
        export_path=request.export,
        export_error=difference,
        integers=isinstance(model, QuantizedModel),
        packed_path=request.packed,
        packed_bytes=_packed(request, model),
        notes=(*task.notes, *differing, *trained, *notes, *_sizes(traced, task)),
    )


def _made(
    request: ApplyRequest, traced: TracedModel, on_event: OnEvent
) -> tuple[TracedModel, nn.Module, Mapping[str, Tensor] | None, tuple[str, ...]]:
    """What the policy's network is made from, the network, which channels of groups stay, notes."""
    file, policy = request.policy, request.policy.policy
    if file.lineage is not None:
        return traced, staged_model(traced, file, PolicyFolder(request.beside)), None, ()
    counts = {name: (kept,) for name, kept in policy.channels.items()}
    images, scheme = labelled(request.task.data.calibration), file.target.scheme
    config = making_of(file, request.calibration, request.seed)
    compressor = Compressor(traced, images, counts, config=config, scheme=scheme)
    on_event(Event("finishing", 1, 3))
    model = compressor.make(policy)
    # what is inside of the compressor's network is what the model's layers aim at
    kept = compressor.database.kept(policy)
    return compressor.traced, model, kept, _differences(request, compressor)


def making_of(file: PolicyFile, calibration: int | None, seed: int | None) -> CompressionConfig:
    """By what a policy's model is made, and how its calibration inputs are read.

    Args:
        file: Says so, but where it is of schema 1.
        calibration: Most calibration inputs where the file does not say; None for the usual.
        seed: Where the file does not say; None for that of its search.

    Raises:
        UsageError: A method that is not there; names the nearest.
    """
    made = file.made_with
    if made is None:
        seed = file.seed if seed is None else seed
        return CompressionConfig(calibration=calibration or CALIBRATION, seed=seed)
    return CompressionConfig(
        importance=made.importance,
        compensation=made.compensation,
        reconstruction=made.reconstruction,
        quantization=made.quantization,
        calibration=made.calibration,
        seed=made.seed,
        memory=made.memory or MEMORY,
    )


def _differences(request: ApplyRequest, compressor: Compressor) -> tuple[str, ...]:
    """What to say where the model is not that of the search, or not made as was asked for."""
    made = request.policy.made_with
    if made is None:
        return (
            "the policy does not say by what its search made the model (schema 1): the weights may"
            " differ from the search's",
        )
    notes = []
    if made.inputs_digest != compressor.inputs_digest:
        notes.append(
            "the calibration inputs are not those of the search, or in another order: the weights"
            " differ from the search's"
        )
    if request.calibration not in (None, made.calibration):
        notes.append(
            f"made as in its search, with {made.calibration:,} calibration inputs, not"
            f" {request.calibration:,}"
        )
    return tuple(notes)


def _packed(request: ApplyRequest, model: nn.Module) -> int | None:
    """Write the weights in the bits that they have where that was asked for; gives the bytes."""
    if request.packed is None:
        return None
    return save_packed(model, request.packed, request.policy.policy, huffman=request.huffman)


def _sizes(traced: TracedModel, task: Task) -> tuple[str, ...]:
    return size_notes(traced.network.input_shape, task.data.input_shape)


def verify(request: VerifyRequest, on_event: OnEvent = ignore) -> VerifyResult:
    """Measure a policy's network beside the dense one, on a board or where the target is here.

    Raises:
        MeasureError: A board that does not measure; the policy stays as it was.
        UsageError: Nothing is measured, and it was to be written.
        PolicyError: The policy is for another model, or has bits that the target lacks.
        TargetError: No such target.
    """
    file, threads = request.policy, request.threads
    traced = _read(request.task, file)
    table = find_table(request.target, threads=threads)
    precisions = precisions_of(table.header)
    check_bits(file.policy, request.target, precisions)
    here = is_cpu_table(table, threads) and not request.ssh
    notes = []
    measured: Measured | None = None
    if request.ssh:
        on_event(Event("measuring on the board", 0, 1))
        measured = measure_on_board(request, traced, table.header)
    elif here:
        on_event(Event("measuring", 0, 1))
        models = {
            "dense": onnx_bytes(traced.model, traced.network.input_shape),
            "compressed": timed_onnx(traced, file.policy, table.header),
        }
        measured = timed_here(table.header, measure_here(models, threads, seconds=20.0), threads)
    elif request.write is not None:
        raise UsageError(
            f"{table.name} is not this machine: there is nothing measured to write; name its board",
            options=("ssh",),
        )
    else:
        notes.append(f"{table.name} is not this machine: nothing was measured here")
    if here and file.target.name not in ("cpu", table.name):
        notes.append(f"the prediction is for {file.target.name}, not for this machine")
    if measured is not None and request.write is not None:
        write_policy(file.model_copy(update={"measured": measured}), request.write)
    return VerifyResult(
        dense=_metrics(file.dense, None if measured is None else measured.dense_seconds),
        compressed=_metrics(file.predicted, None if measured is None else measured.latency_seconds),
        target=describe(
            table, used_names(file.policy.bits.values(), precisions), file.predicted.latency_error
        ),
        notes=tuple(notes),
        measured=measured,
    )


def _read(task: Task, file: PolicyFile) -> TracedModel:
    """The model, traced at the size that its policy was searched for, whatever the data's.

    Raises:
        PolicyError: The policy is for another model.
        ModelError: The model does not run at that size.
    """
    resolution, shape = file.policy.resolution, task.input_shape
    if file.model.fingerprint == fingerprint_of(task.model):
        shape = file.model.input_shape
    traced = trace_network(
        task.model,
        shape,
        resolutions=(resolution,) if resolution else (),
        shown=task.data.input_shape,
    )
    check_fits(file, traced.network)
    return traced


def _metrics(cost: Predicted, measured: float | None) -> Metrics:
    return Metrics(
        None,
        cost.latency_seconds,
        cost.latency_error,
        measured,
        cost.macs,
        cost.bytes,
        cost.joules,
        cost.latency_cycles,
        at_least=cost.at_least,
    )
