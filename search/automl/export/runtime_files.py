"""Float networks as the files of phones' runtimes: ExecuTorch's .pte, LiteRT's .tflite.

Their packages are extras. Each file is run by its runtime before it is believed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from automl.compression import QuantizedModel
from automl.errors import ModelError, Raised, UsageError, attempt, install_command
from automl.export.float_onnx import BetweenTensors, between_tensors, cause_of, quiet
from automl.files import scratch_folder, write_whole
from automl.network import example_of, named_tensors

Tensor = torch.Tensor
#: Largest difference of the outputs, relative to their scale.
_TOLERANCE: Final = 1e-3
#: What an input's runs give, of a file.
Run = Callable[[Path, tuple[Tensor, ...]], list[Tensor]]


def export_executorch(model: nn.Module, input_shape: Sequence[int], path: Path) -> float:
    """Write a float network for ExecuTorch, what XNNPACK can run lowered to it, and run it.

    Args:
        model: In eval mode, on the CPU.
        input_shape: Of one input, batch 1 first.
        path: Where to.

    Returns:
        Largest difference of the outputs from PyTorch's, relative to their scale.

    Raises:
        UsageError: ExecuTorch is not installed.
        ModelError: It refuses the network, or the file computes something else.
        OSError: The file cannot be written.
    """
    exir = _module("executorch.exir", "ExecuTorch")
    xnnpack = _module("executorch.backends.xnnpack.partition.xnnpack_partitioner", "ExecuTorch")
    runtime = _module("executorch.runtime", "ExecuTorch")

    def make(file: Path, taken: BetweenTensors) -> None:
        program = torch.export.export(taken.network, taken.given, strict=False)
        lowered = exir.to_edge_transform_and_lower(
            program, partitioner=[xnnpack.XnnpackPartitioner()]
        )
        file.write_bytes(bytes(lowered.to_executorch().buffer))

    def run(file: Path, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        program = runtime.Runtime.get().load_program(file)
        return list(program.load_method("forward").execute(list(inputs)))

    return _exported("ExecuTorch", make, run, model, input_shape, path)


def export_litert(model: nn.Module, input_shape: Sequence[int], path: Path) -> float:
    """Write a float network for LiteRT, and run it; arguments, value and errors as above.

    Inputs and outputs keep the order of dimensions that PyTorch has.
    """
    litert = _module("litert_torch", "LiteRT")
    interpreter = _module("ai_edge_litert.interpreter", "LiteRT")

    def make(file: Path, taken: BetweenTensors) -> None:
        litert.convert(taken.network, taken.given).export(str(file))

    def run(file: Path, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        session = interpreter.Interpreter(model_path=str(file), num_threads=1)
        session.allocate_tensors()
        for place, value in zip(_in_order(session.get_input_details()), inputs, strict=True):
            session.set_tensor(place, value.numpy())
        session.invoke()
        places = _in_order(session.get_output_details())
        return [torch.from_numpy(np.array(session.get_tensor(place))) for place in places]

    return _exported("LiteRT", make, run, model, input_shape, path)


def _in_order(details: Sequence[Any]) -> list[int]:
    """Places of inputs or outputs in the order in which the network has them."""
    return [int(each["index"]) for each in sorted(details, key=lambda each: str(each["name"]))]


def refuse_integers(model: nn.Module, what: str) -> None:
    """Raise ModelError where a network rounds what flows in it, which a file of floats cannot."""
    if isinstance(model, QuantizedModel) and model.qparams:
        layer = next(iter(model.qparams))[0][0] or "its input"
        raise ModelError(
            f"{what} is of floats, and the network computes in integers (what {layer} gives is"
            " rounded): its ONNX file is what runs"
        )


def _module(name: str, runtime: str) -> Any:
    found = attempt(lambda: importlib.import_module(name))
    if not isinstance(found, Raised):
        return found
    if isinstance(found.error, ModuleNotFoundError):
        raise UsageError(
            f"{found.error.name}, which writes files for {runtime}, is not installed: "
            f"{install_command(runtime.lower())}"
        ) from found.error
    raise UsageError(f"{name} of {runtime} cannot be imported: {found}") from found.error


def _exported(
    runtime: str,
    make: Callable[[Path, BetweenTensors], None],
    run: Run,
    model: nn.Module,
    input_shape: Sequence[int],
    path: Path,
) -> float:
    refuse_integers(model, f"a file for {runtime}")
    network = model.network if isinstance(model, QuantizedModel) else model
    taken = between_tensors(network, example_of(network, input_shape))
    with quiet(), scratch_folder() as folder:
        file = folder / f"network{path.suffix}"
        made = attempt(lambda: make(file, taken))
        if isinstance(made, Raised):
            raise ModelError(
                f"the network cannot be exported for {runtime}: {cause_of(made.error)}"
            ) from made.error
        expected = [each for _, each in named_tensors(taken.network(*taken.given))]
        found = attempt(lambda: run(file, taken.given))
        if isinstance(found, Raised):
            raise ModelError(f"{runtime} does not run its file: {found}") from found.error
        worst = _difference(runtime, found, expected)
        write_whole(path, file.read_bytes())
    return worst


def _difference(runtime: str, found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    if [each.shape for each in found] != [each.shape for each in expected]:
        raise ModelError(f"the file for {runtime} has outputs of other shapes than the network")
    worst = max(
        float((one - two).abs().max()) / (float(two.abs().max()) or 1.0)
        for one, two in zip(found, expected, strict=True)
    )
    if not worst <= _TOLERANCE:
        raise ModelError(
            f"the file for {runtime} differs from the network by {worst:.1e} of its outputs' scale"
        )
    return worst
