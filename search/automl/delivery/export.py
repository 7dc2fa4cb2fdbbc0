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

from automl.errors import ModelError

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
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
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

    Raises:
        ModelError: It is larger than `TOLERANCE`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(3):
        inputs = torch.randn(tuple(input_shape), generator=generator)
        with torch.no_grad():
            expected = _first(model(inputs))
        found = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
        scale = float(np.abs(expected).max()) or 1.0
        worst = max(worst, float(np.abs(np.asarray(found) - expected).max()) / scale)
    if not worst <= TOLERANCE:
        raise ModelError(
            f"the ONNX model differs from the PyTorch model by {worst:.1e} of its outputs' scale"
        )
    return worst


def _first(output: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    leaves = torch.utils._pytree.tree_leaves(output)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return tensors[0].numpy()
