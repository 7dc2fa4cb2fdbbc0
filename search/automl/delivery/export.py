"""ONNX files: exported, and believed only when ONNX Runtime computes what the model does."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from automl.errors import ModelError, Raised, attempt

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

#: Largest difference between the ONNX and the PyTorch outputs, relative to the outputs' scale.
TOLERANCE = 1e-3


def export_onnx(model: nn.Module, input_shape: Sequence[int], path: Path) -> float:
    """Write an ONNX file and check it in ONNX Runtime on random inputs.

    Returns:
        The largest difference of the outputs, relative to their largest value.

    Raises:
        ModelError: The model cannot be exported, or the file computes something else.
    """
    content = onnx_bytes(model, input_shape, thorough=True)
    difference = check_onnx(content, model, input_shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def onnx_bytes(model: nn.Module, input_shape: Sequence[int], *, thorough: bool = False) -> bytes:
    """The model as ONNX, batch 1.

    Args:
        model: In eval mode, on the CPU.
        input_shape: Of one input, batch 1 first.
        thorough: Use the exporter that captures the whole program (seconds a model); otherwise
            the one that records a run, which is enough to measure a network's time.

    Raises:
        ModelError: The exporter refuses the model.
    """
    example = torch.zeros(tuple(input_shape))
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            torch.no_grad(),
            tempfile.TemporaryDirectory() as folder,
        ):
            warnings.simplefilter("ignore")  # the exporters warn of their own deprecations
            file = Path(folder) / "model.onnx"
            torch.onnx.export(
                model,
                (example,),
                file,
                dynamo=thorough,
                verbose=False,
                external_data=False,
                input_names=["input"],
                output_names=["output"],
            )
            return file.read_bytes()
    except (RuntimeError, TypeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"the model cannot be exported to ONNX: {lines[0]}") from error
    finally:
        logger.setLevel(level)


def check_onnx(content: bytes, model: nn.Module, input_shape: Sequence[int]) -> float:
    """Largest difference between ONNX Runtime and PyTorch on random inputs, relative to scale.

    All outputs are compared, each relative to its own largest value.

    Raises:
        ModelError: It is larger than `TOLERANCE`, or ONNX Runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = attempt(
        lambda: onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    )
    if isinstance(session, Raised):
        raise ModelError(f"ONNX Runtime refuses the exported model: {session}") from session.error
    generator = torch.Generator().manual_seed(0)
    differences: list[float] = []
    for _ in range(3):
        inputs = torch.randn(tuple(input_shape), generator=generator)
        with torch.no_grad():
            expected = _arrays(model(inputs))
        outputs = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        found = [np.asarray(part) for part in outputs]
        if [part.shape for part in found] != [part.shape for part in expected]:
            raise ModelError("the ONNX model has outputs of other shapes than the PyTorch model")
        differences += [_difference(*pair) for pair in zip(found, expected, strict=True)]
    worst = float(np.max(differences))  # not the built-in max, which passes over NaN
    if not worst <= TOLERANCE:
        raise ModelError(
            f"the ONNX model differs from the PyTorch model by {worst:.1e} of its outputs' scale"
        )
    return worst


def _difference(found: Array, expected: Array) -> float:
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(found - expected).max()) / scale


def _arrays(output: object) -> list[Array]:
    return [leaf.numpy() for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
