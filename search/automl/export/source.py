"""A network as Python source of plain torch, with its weights in a file beside it.

The network is captured by `torch.export`, made modules of layers again by the names that it had,
and written as their classes. What was written is run before it is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from automl.compression import QuantizedModel
from automl.errors import ModelError, Raised, attempt
from automl.export.float_onnx import cause_of, quiet
from automl.export.runtime_files import refuse_integers
from automl.export.source_names import is_name
from automl.export.source_text import SourceText
from automl.files import replacing, write_whole
from automl.network import example_of, input_hook, output_tensors
from automl.userdata import from_exported

Tensor = torch.Tensor
#: Largest difference of the outputs, relative to their scale: the order of sums may differ.
_TOLERANCE: Final = 1e-5
#: What ends the name of a source, and of its weights.
SOURCE: Final = ".py"
WEIGHTS: Final = ".pt"
_HEAD: Final = '''"""{what}

Plain torch: nothing else is needed. The weights are in {weights}:

    from {module} import load
    network = load()  # in evaluation mode; .train() to train it on
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


'''
_TAIL: Final = '''


def load(path=Path(__file__).with_name({weights})):
    """The network with the weights of a file, in evaluation mode."""
    network = {name}()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
'''


@dataclass(frozen=True, slots=True)
class WrittenSource:
    """A network as source.

    Attributes:
        text: Of the Python module.
        tensors: Its state dict.
        difference: Largest difference of its outputs from the network's, relative to their scale.
    """

    text: str
    tensors: Mapping[str, Tensor]
    difference: float


def weights_beside(path: Path) -> Path:
    """Where the weights of a source are written."""
    return path.with_suffix(WEIGHTS)


def write_source(
    model: nn.Module, input_shape: Sequence[int], path: Path, inputs: Tensor, *, what: str = ""
) -> float:
    """Write a network as Python source, and its weights beside it.

    Args:
        model: In eval mode, on the CPU.
        input_shape: Of one input, batch 1 first.
        path: Where to; the weights have the same name and end in ".pt".
        inputs: What it is checked on.
        what: One line on the network, for the head of the file.

    Returns:
        Largest difference of the outputs from the network's, relative to their scale.

    Raises:
        ModelError: It cannot be written; names the layer.
        OSError: A file cannot be written.
    """
    source = source_of(model, input_shape, inputs, module=path.stem, what=what)
    write_whole(path, source.text)
    with replacing(weights_beside(path)) as temporary:
        torch.save(dict(source.tensors), temporary)
    return source.difference


def source_of(
    model: nn.Module,
    input_shape: Sequence[int],
    inputs: Tensor,
    *,
    module: str = "model",
    what: str = "",
) -> WrittenSource:
    """A network as source, held against it; arguments and errors as of `write_source`."""
    refuse_integers(model, "source")
    network: Any = _captured(model, input_shape)
    name = type(model).__name__
    name = name if is_name(name) and not name.startswith("_") else "Network"
    made = SourceText(network, name)
    weights = f"{module}{WEIGHTS}"
    said = re.sub(r"[^ -~]|\\|\"", "", what) or f"{name}, written by automl."
    head = _HEAD.format(what=said, weights=weights, module=module)
    text = head + made.text() + _TAIL.format(weights=f'"{weights}"', name=name)
    tensors = {key: each.detach().clone() for key, each in made.tensors.items()}
    return WrittenSource(text, tensors, _checked(text, name, tensors, model, inputs))


def _captured(model: nn.Module, input_shape: Sequence[int]) -> nn.Module:
    """The network as modules of graphs and layers.

    Raises:
        ModelError: It cannot be captured; names the layer.
    """
    network = model.network if isinstance(model, QuantizedModel) else model
    rows = example_of(network, (2, *input_shape[1:]))
    args, kwargs = _called_with(network, rows if len(rows) > 1 else torch.cat([rows, rows]))
    sizes = tree_map_only(Tensor, lambda _: {0: torch.export.Dim.AUTO}, kwargs or args)

    def capture() -> nn.Module:
        program = torch.export.export(network, args, kwargs, dynamic_shapes=sizes, strict=False)
        return from_exported(program)

    with quiet():
        found = attempt(capture)
        if isinstance(found, Raised):
            layer = _layer_that_fails(network, capture)
            raise ModelError(
                f"{layer} cannot be written as source: {cause_of(found.error)}"
            ) from found.error
    return found


def _called_with(network: nn.Module, rows: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a network of the user's own is called with."""
    hook = input_hook(network)
    return ((rows,), {}) if hook is None else hook.arguments(rows)


def _layer_that_fails(network: nn.Module, run: Callable[[], object]) -> str:
    """The innermost module that was running when something failed, in words."""
    running: list[str] = []
    hooks = []
    for name, module in network.named_modules():

        def enter(_module: nn.Module, _args: Any, name: str = name) -> None:
            running.append(name)

        def leave(_module: nn.Module, _args: Any, _output: Any) -> None:
            running.pop()

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    attempt(run)
    for hook in hooks:
        hook.remove()
    return next((name for name in reversed(running) if name), "the network")


def _checked(
    text: str, name: str, tensors: Mapping[str, Tensor], model: nn.Module, inputs: Tensor
) -> float:
    """Run a source, and give how far its outputs are from the network's.

    Raises:
        ModelError: It does not run, or computes something else.
    """

    def run() -> list[Tensor]:
        space: dict[str, Any] = {"__name__": "automl_source", "__file__": "source.py"}
        exec(compile(text, "source.py", "exec"), space)  # what we have just written ourselves
        network = space[name]()
        network.load_state_dict(dict(tensors))
        network.eval()
        args, kwargs = _called_with(model, inputs)
        return output_tensors(network(*args, **kwargs))

    with torch.no_grad():
        expected = output_tensors(model(inputs))
        found = attempt(run)
    if isinstance(found, Raised):
        raise ModelError(f"the source that was written does not run: {found}") from found.error
    if [each.shape for each in found] != [each.shape for each in expected]:
        raise ModelError("the source has outputs of other shapes than the network")
    worst = max(
        float((one - two).abs().max()) / (float(two.abs().max()) or 1.0)
        for one, two in zip(found, expected, strict=True)
    )
    if not worst <= _TOLERANCE:
        raise ModelError(
            f"the source computes something else: it differs by {worst:.1e} of the outputs' scale"
        )
    return worst
