"""ONNX files: exported, and believed only when ONNX Runtime computes what the model does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from automl.compression import HALF_RANGE, QuantizedModel
from automl.errors import ModelError, Raised, attempt
from automl.export.agreement import check_quantized
from automl.export.float_onnx import float_onnx
from automl.export.matching import run_all
from automl.export.qdq import quantized_bytes
from automl.export.repeats import without_repeats
from automl.export.session import Session, fed
from automl.files import write_whole
from automl.network import example_of, output_tensors
from automl.profiling import half_model

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

#: Largest difference between the ONNX and the PyTorch outputs, relative to the outputs' scale.
TOLERANCE = 1e-3
#: The same where the ONNX model computes in fp16.
HALF_TOLERANCE = 2e-2
#: Random inputs that an integer network is held against where no others are given.
_INPUTS = 64
#: Inputs such as it will see that a float network is held against.
_SHOWN = 8


def export_onnx(
    model: nn.Module,
    input_shape: Sequence[int],
    path: Path,
    inputs: torch.Tensor | None = None,
    *,
    half: bool = False,
    here: bool = False,
) -> float:
    """Write an ONNX file and check it in ONNX Runtime.

    Args:
        model: In eval mode, on the CPU. A `QuantizedModel` becomes an integer network, in
            the scheme that it simulates.
        input_shape: Of one input, batch 1 first.
        path: Where to.
        inputs: What it is checked on, some hundred such as it will see; None for random ones, on
            which float networks are checked as well.
        half: Write float tensors, the network's input among them, in fp16: runtimes with strongly
            typed networks compute in what the file says.
        here: The file will run on this machine: integers are checked as it computes them. Those
            of others are checked in exact arithmetic.

    Returns:
        The difference of the outputs, relative to their largest value: the largest, of a
        `QuantizedModel` the mean.

    Raises:
        ModelError: The model cannot be exported, or the file computes something else.
    """
    content, difference = _exported(model, input_shape, inputs, half=half, here=here)
    write_whole(path, content)
    return difference


def check_export(
    model: nn.Module, input_shape: Sequence[int], inputs: torch.Tensor, *, half: bool = False
) -> bytes:
    """Do all that `export_onnx` does of a float network but write a file; arguments as there.

    Returns:
        What `float_onnx` gives: the network before anything is done to its file.

    Raises:
        ModelError: As there.
    """
    exported = float_onnx(model, input_shape, thorough=True)
    _checked(without_repeats(exported), model, input_shape, inputs, half=half)
    return exported


def _exported(
    model: nn.Module,
    input_shape: Sequence[int],
    inputs: torch.Tensor | None,
    *,
    half: bool,
    here: bool,
) -> tuple[bytes, float]:
    """A file's content, checked, and its difference."""
    whole = onnx_bytes(model, input_shape, thorough=True)
    return _checked(whole, model, input_shape, inputs, half=half, here=here)


def _checked(
    whole: bytes,
    model: nn.Module,
    input_shape: Sequence[int],
    inputs: torch.Tensor | None,
    *,
    half: bool,
    here: bool = False,
) -> tuple[bytes, float]:
    content = half_model(whole) if half else whole
    if isinstance(model, QuantizedModel):
        if inputs is None:
            inputs = example_of(model, (_INPUTS, *input_shape[1:]))
        return content, check_quantized(content, model, inputs, exact=not here).mean
    shown = () if inputs is None else inputs[:_SHOWN].split(1)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    try:
        return content, check_onnx(content, model, input_shape, tolerance, shown)
    except ModelError as error:
        if not half:
            raise
        reached = max((_reached(whole, model, each) for each in shown), default=0.0)
        if reached <= HALF_RANGE:
            raise
        raise ModelError(
            f"the target computes in fp16, and values in the network reach {reached:,.0f}, beyond"
            f" the range of fp16 (65504): scale what it is given, such as to 0..1"
        ) from error


def _reached(content: bytes, model: nn.Module, inputs: torch.Tensor) -> float:
    """The largest value in a network of 32-bit floats on an input; 0 where it does not run."""
    values = attempt(lambda: run_all(onnx.load_from_string(content), fed(model, inputs)))
    if isinstance(values, Raised):
        return 0.0
    return max(float(np.abs(each).max(initial=0.0)) for each in values.values())


def onnx_bytes(model: nn.Module, input_shape: Sequence[int], *, thorough: bool = False) -> bytes:
    """The model as ONNX, batch 1: of a `QuantizedModel` the integer network.

    Args:
        model: In eval mode, on the CPU.
        input_shape: Of one input, batch 1 first.
        thorough: Use the exporter that captures the whole program (seconds per model); otherwise
            the one that records a run, which is enough to measure a network's time.

    Raises:
        ModelError: The exporter refuses the model.
    """
    if isinstance(model, QuantizedModel):
        return quantized_bytes(model, input_shape, thorough=thorough)
    return without_repeats(float_onnx(model, input_shape, thorough=thorough))


def check_onnx(
    content: bytes,
    model: nn.Module,
    input_shape: Sequence[int],
    tolerance: float = TOLERANCE,
    shown: Sequence[torch.Tensor] = (),
) -> float:
    """Largest difference between ONNX Runtime and PyTorch, relative to scale.

    All outputs are compared, each relative to its own largest value.

    Args:
        content: The file.
        model: In eval mode, on the CPU.
        input_shape: Of one input, batch 1 first.
        tolerance: Largest difference that is allowed.
        shown: Inputs, batch 1, that are compared on beside random ones.

    Raises:
        ModelError: It is larger than `tolerance`, or ONNX Runtime refuses the file.
    """
    session = Session(content)
    differences: list[float] = []
    random = [example_of(model, input_shape, seed) for seed in range(3)]
    for number, inputs in enumerate((*shown, *random)):
        with torch.no_grad():
            expected = _arrays(model(inputs))
        if differences and number >= len(shown) and not all(map(_finite, expected)):
            continue  # a logarithm or a root, which random numbers may be too low for
        found = session.run(fed(model, inputs))
        if [part.shape for part in found] != [part.shape for part in expected]:
            raise ModelError("the ONNX model has outputs of other shapes than the PyTorch model")
        differences += [_difference(*pair) for pair in zip(found, expected, strict=True)]
    worst = float(np.max(differences))  # not the built-in max, which passes over NaN
    if not worst <= tolerance:
        raise ModelError(
            f"the ONNX model differs from the PyTorch model by {worst:.1e} of its outputs' scale"
        )
    return worst


def _difference(found: Array, expected: Array) -> float:
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(found - expected).max()) / scale


def _finite(array: Array) -> bool:
    return bool(np.isfinite(array).all())


def _arrays(output: object) -> list[Array]:
    return [tensor.numpy() for tensor in output_tensors(output)]
