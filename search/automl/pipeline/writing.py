"""The weights of a finished network as files: a plain state dict, and packed in few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from automl.compression import (
    Codebook,
    DenseForm,
    QuantizedModel,
    form_of,
    kernel_of,
    resized,
    tiled,
)
from automl.export import (
    FormedWeights,
    IntegerWeights,
    SharedWeights,
    Stored,
    found_stored,
    write_packed,
)
from automl.files import replacing
from automl.pipeline.requests import Task
from automl.policy import Policy
from automl.space import kind_of

Tensor = torch.Tensor
#: The policy of a network without forms.
_PLAIN: Final = Policy()
#: Inputs that an integer network is checked on: of small ones the first, of large ones as many as
#: have so many numbers together, and no fewer than the last.
CHECKED: Final = 256
_NUMBERS: Final = 12_000_000
_FEWEST: Final = 64


def network_of_floats(model: nn.Module) -> nn.Module:
    """The network with its weights as floats: of a `QuantizedModel` the one that it rounds."""
    return model.network if isinstance(model, QuantizedModel) else model


def examples(task: Task, policy: Policy, shape: Sequence[int]) -> Tensor:
    """Calibration inputs, at the policy's resolution, that an exported network is checked on.

    Args:
        task: Its data.
        policy: Its resolution.
        shape: Of one input of the exported network. Inputs that are smaller are repeated until they
            fill it, and there are then so many fewer.
    """
    inputs = task.data.calibration.by_number
    count = min(CHECKED, max(_FEWEST, _NUMBERS // max(1, prod(inputs.shape[1:]))))
    images = resized(inputs[:count], policy.resolution)
    share = prod(images.shape[1:]) / prod(shape[1:])
    return tiled(images[: max(4, int(count * min(1.0, share)))], shape)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a state dict, whole or not at all.

    Of a `QuantizedModel` its network's: rounded weights as the floats that they stand for.
    """
    with replacing(path) as temporary:
        torch.save(network_of_floats(model).state_dict(), temporary)


def save_packed(
    model: nn.Module, path: Path, policy: Policy = _PLAIN, *, huffman: bool = False
) -> int:
    """Write the weights in the bits and forms that they have; docs/weights.md describes the file.

    Returns:
        Bytes of the file.

    Raises:
        QuantizationError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_packed(path, stored(model, policy), huffman=huffman)


def packs(policy: Policy) -> bool:
    """Whether a policy gives layers a form that is stored in fewer bytes."""
    return bool(packed_forms(policy))


def packed_forms(policy: Policy) -> Mapping[str, tuple[DenseForm[Any], Any]]:
    """The forms that are stored in fewer bytes by layer, each with its parameter."""
    found = {part: (form_of(each.form), each.parameter) for part, each in _forms(policy).items()}
    return {
        part: (form, parameter)
        for part, (form, parameter) in found.items()
        if isinstance(form, DenseForm)
    }


def stored(model: nn.Module, policy: Policy = _PLAIN) -> dict[str, Stored]:
    """A network's tensors by name, rounded weights as integers or indices, zeros left out.

    Those of layers whose form says how they are stored are as it says.
    """
    network = network_of_floats(model)
    tensors: dict[str, Stored] = {
        name: found_stored(each) or each for name, each in network.state_dict().items()
    }
    for part, option in _forms(policy).items():
        if f"{part}.weight" in tensors:
            formed = _formed(network.get_submodule(part), option)
            tensors |= {} if formed is None else {f"{part}.weight": formed}
    if not isinstance(model, QuantizedModel):
        return tensors
    for layer, qparams in model.weights.items():
        name = f"{layer}.weight"
        weight: Tensor = model.network.get_parameter(name)
        if isinstance(qparams, Codebook):
            tensors[name] = SharedWeights(
                qparams.entries, qparams.indices.view(weight.shape), qparams.bits
            )
        else:
            tensors[name] = IntegerWeights(
                model.integers(layer), model.scales(layer), qparams.bits, qparams.odd
            )
    return tensors


def _forms(policy: Policy) -> Mapping[str, Any]:
    """Forms that a policy gives layers, by layer."""
    chosen = kind_of("form").chosen(policy)
    return {part: option for part, option in chosen.items() if option is not None}


def _formed(module: Any, option: Any) -> FormedWeights | None:
    """A layer's weights as its form stores them; None where that is as numbers."""
    form = form_of(option.form)
    if not isinstance(form, DenseForm):
        return None
    kernel = kernel_of(module)
    parts, shape = form.pack(option.parameter, kernel), tuple(module.weight.shape)
    if not parts:
        return None
    said = form.write(option.parameter)
    return FormedWeights(option.form, said, tuple(kernel.shape), shape, parts)
