"""A finished network as the file that its runtime reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from automl import __version__
from automl.compression import is_rounded, without_gates
from automl.errors import UsageError
from automl.export import (
    computes_integers,
    export_executorch,
    export_litert,
    export_onnx,
    write_source,
)
from automl.network import Flow, TracedModel
from automl.policy import Policy, PolicyFile


def check_format(path: Path | None, policy: Policy, traced: TracedModel) -> None:
    """Ask, before anything is made, whether a policy's network can be a file of that ending.

    Raises:
        UsageError: It computes in integers, and such files are of floats.
    """
    if path is None or path.suffix == ".onnx":
        return
    left = Flow(traced.trace, without_gates(traced.network, policy).removed).layers
    for name, bits in policy.bits.items():
        if name in left and is_rounded(bits) and computes_integers(bits):
            raise UsageError(
                f"{path.suffix} files are of floats, and this policy computes {name} in integers:"
                " write .onnx",
                options=("export",),
            )


def export_as(
    path: Path,
    model: nn.Module,
    shape: Sequence[int],
    inputs: torch.Tensor,
    *,
    half: bool,
    what: str,
) -> float:
    """Write a network as its file's ending says, checked.

    Args:
        path: Where to; ends in one of `options.EXPORTS`.
        model: In eval mode, on the CPU.
        shape: Of one input, batch 1 first.
        inputs: What it is checked on.
        half: ONNX computes in fp16; other files stay in 32-bit floats.
        what: One line on the network, for the head of a source.

    Returns:
        The difference of its outputs from the network's, relative to their scale.

    Raises:
        UsageError: What writes such files is not installed.
        ModelError: The network cannot be such a file, or the file computes something else.
    """
    if path.suffix == ".py":
        return write_source(model, shape, path, inputs, what=what)
    if path.suffix == ".pte":
        return export_executorch(model, shape, path)
    if path.suffix == ".tflite":
        return export_litert(model, shape, path)
    return export_onnx(model, shape, path, inputs, half=half)


def described(file: PolicyFile) -> str:
    """One line on a policy's network."""
    return f"{file.model.name}, compressed by automl {__version__} for {file.target.name}."
