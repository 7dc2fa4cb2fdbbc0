"""Whether a network can be exported in the target's form: asked before a search begins."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from automl.compression import HalfModel, tiled
from automl.errors import IntegersError, ModelError
from automl.export import check_export, check_integers, computes_integers
from automl.latency import TableHeader, find_table
from automl.network import Flow, TracedModel, output_tensors
from automl.options import SearchOptions
from automl.pipeline.precision import bits_for, floats_of, precisions_of, scheme_of
from automl.pipeline.requests import Task

#: Calibration inputs that the file is held against.
_INPUTS: Final = 8
#: Calibration inputs whose values are watched where the target has fp16 alone.
_WATCHED: Final = 64


def check_exportable(traced: TracedModel, task: Task, options: SearchOptions) -> None:
    """Export the dense network as its search would, in memory, and run the file.

    Where the search may choose integers, the network of integers as well.

    Args:
        traced: The network.
        task: Whose calibration inputs are shown to both.
        options: Of the search; its target says in which floats.

    Raises:
        IntegersError: The network of integers alone cannot.
        ModelError: It cannot be exported, or the file computes something else; says why.
        TargetError: The target is not known.
        UsageError: Precisions that the target lacks.
    """
    floats, scheme = exported_form(options)
    shape, half = traced.network.input_shape, floats == "fp16"
    inputs = tiled(task.data.calibration.by_number[:_INPUTS], shape)
    if half:
        _watch(traced.model, task)
    exported = check_export(traced.model, shape, inputs, half=half)
    if scheme is None:
        return
    try:
        check_integers(traced.model, Flow(traced.trace), scheme, shape, exported)
    except ModelError as error:
        raise IntegersError(
            f"the search may choose integers, but no file of them can be made: {error}; let it"
            " choose floats alone",
            str(error),
            options=("precisions",),
        ) from error


def exported_form(options: SearchOptions) -> tuple[str, str | None]:
    """The floats that a search's target computes in, and the integers that it may choose, if any.

    Raises:
        TargetError: The target is not known.
        UsageError: Precisions that the target lacks.
    """
    header = find_table(options.target, threads=options.threads).header
    return floats_of(header), _scheme(header, options)


def _watch(model: nn.Module, task: Task) -> None:
    """Run the network as fp16 computes on calibration inputs.

    Raises:
        ModelError: What it puts out is infinite or no number; names where and on which input.
    """
    images = task.data.calibration.by_number
    half = HalfModel(model)
    for number in range(min(_WATCHED, len(images))):
        shown = images[number : number + 1]
        if _finite(half, shown) or not _finite(model, shown):
            continue
        raise ModelError(
            f"the target computes in fp16, and on calibration input {number} values in"
            f" {half.beyond[0] or 'its own forward'} are beyond its range (65504), so that what the"
            " network puts out is not finite: scale what it is given, such as to 0..1"
        )


def _finite(model: nn.Module, inputs: torch.Tensor) -> bool:
    with torch.no_grad():
        return all(bool(part.isfinite().all()) for part in output_tensors(model(inputs)))


def _scheme(header: TableHeader, options: SearchOptions) -> str | None:
    """The scheme of the integers that a search may choose; None where it may not."""
    bits = bits_for(options, precisions_of(header))
    return scheme_of(header) if any(map(computes_integers, bits.precisions)) else None
