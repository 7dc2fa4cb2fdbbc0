"""The weights of a finished network as files: a plain state dict, and packed in few bits."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Final

import torch
from torch import nn

from automl.compression import Codebook, QuantizedModel, resized, tiled
from automl.export import IntegerWeights, SharedWeights, Stored, found_stored, write_packed
from automl.files import replacing
from automl.pipeline.requests import Task
from automl.policy import Policy

Tensor = torch.Tensor
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


def save_packed(model: nn.Module, path: Path, *, huffman: bool = False) -> int:
    """Write the weights in the bits that they have; docs/weights.md describes the file.

    Returns:
        Bytes of the file.

    Raises:
        QuantizationError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_packed(path, stored(model), huffman=huffman)


def stored(model: nn.Module) -> dict[str, Stored]:
    """A network's tensors by name, rounded weights as integers or indices, zeros left out."""
    tensors: dict[str, Stored] = {
        name: found_stored(each) or each
        for name, each in network_of_floats(model).state_dict().items()
    }
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
            tensors[name] = IntegerWeights(model.integers(layer), model.scales(layer), qparams.bits)
    return tensors
