"""Whether a network can be exported in the target's form: asked before a search begins."""

from __future__ import annotations

from typing import Final

from automl.compression import tiled
from automl.errors import ModelError
from automl.export import check_export, check_integers, computes_integers
from automl.latency import TableHeader, find_table
from automl.network import Flow, TracedModel
from automl.options import SearchOptions
from automl.pipeline.precision import choose_bits, floats_of, precisions_of, scheme_of
from automl.pipeline.requests import Task
from automl.space import kind_of

#: Calibration inputs that the file is held against.
_INPUTS: Final = 8


def check_exportable(traced: TracedModel, task: Task, options: SearchOptions) -> None:
    """Export the dense network as its search would, in memory, and run the file.

    Where the search may choose integers, the network of integers as well.

    Args:
        traced: The network.
        task: Whose calibration inputs are shown to both.
        options: Of the search; its target says in which floats.

    Raises:
        ModelError: It cannot be exported, or the file computes something else; says why.
        TargetError: The target is not known.
        UsageError: Precisions that the target lacks.
    """
    table = find_table(options.target, threads=options.threads)
    shape = traced.network.input_shape
    inputs = tiled(task.data.calibration.by_number[:_INPUTS], shape)
    half = floats_of(table.header) == "fp16"
    exported = check_export(traced.model, shape, inputs, half=half)
    scheme = _scheme(table.header, options)
    if scheme is None:
        return
    try:
        check_integers(traced.model, Flow(traced.trace), scheme, shape, exported)
    except ModelError as error:
        raise ModelError(
            f"the search may choose integers, but no file of them can be made: {error}; let it"
            " choose floats alone",
            options=("precisions",),
        ) from error


def _scheme(header: TableHeader, options: SearchOptions) -> str | None:
    """The scheme of the integers that a search may choose; None where it may not."""
    forms = [kind for kind in options.kinds if kind_of(kind).lowers]
    precisions = precisions_of(header)
    bits = choose_bits(
        options.precisions,
        options.target,
        precisions,
        options.limited,
        options.keep_first_last,
        forms,
    )
    return scheme_of(header) if any(map(computes_integers, bits.precisions)) else None
