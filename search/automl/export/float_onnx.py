"""A float network as ONNX."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from automl.errors import ModelError


def float_onnx(model: nn.Module, input_shape: Sequence[int], *, thorough: bool = False) -> bytes:
    """A float network as ONNX, batch 1.

    Args:
        model: In eval mode, on the CPU.
        input_shape: Of one input, batch 1 first.
        thorough: Use the exporter that captures the whole program (seconds per model); otherwise
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
