"""Whether a network can be exported in the target's form: asked before a search begins."""

from __future__ import annotations

from typing import Final

from automl.compression import tiled
from automl.export import check_export
from automl.latency import find_table
from automl.network import TracedModel
from automl.options import SearchOptions
from automl.pipeline.precision import floats_of
from automl.pipeline.requests import Task

#: Calibration inputs that the file is held against.
_INPUTS: Final = 8


def check_exportable(traced: TracedModel, task: Task, options: SearchOptions) -> None:
    """Export the dense network as its search would, in memory, and run the file.

    Args:
        traced: The network.
        task: Whose calibration inputs are shown to both.
        options: Of the search; its target says in which floats.

    Raises:
        ModelError: It cannot be exported, or the file computes something else; says why.
        TargetError: The target is not known.
    """
    table = find_table(options.target, threads=options.threads)
    shape = traced.network.input_shape
    inputs = tiled(task.data.calibration.inputs[:_INPUTS], shape)
    check_export(traced.model, shape, inputs, half=floats_of(table.header) == "fp16")
