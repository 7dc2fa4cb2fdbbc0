"""A layer as a matrix: rows of inputs times a weight matrix give its outputs, run by run.

Convolutions read patches, linear layers features, transposed convolutions single pixels. A layer
with `groups` is that many runs side by side, each with a matrix of its own; a depthwise
convolution has one run a channel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor


def is_transposed(module: nn.Module) -> bool:
    """Whether a layer is a transposed convolution."""
    return isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)


def runs_of(module: nn.Module) -> int:
    """How many matrices the layer consists of."""
    return int(getattr(module, "groups", 1))


def matrix(module: Any) -> Tensor:
    """The weights as [runs, outputs of a run, inputs of a run], a copy."""
    return matrix_of(module, module.weight.detach()).clone()


def matrix_of(module: Any, weight: Tensor) -> Tensor:
    """A tensor of the shape of the layer's weight as `matrix` has it, with gradients."""
    runs = runs_of(module)
    if is_transposed(module):
        parts = weight.view(runs, weight.shape[0] // runs, -1)  # inputs, outputs x positions
        return parts.transpose(1, 2)
    return weight.reshape(runs, weight.shape[0] // runs, -1)


def weight_of(module: Any, values: Tensor) -> Tensor:
    """A matrix of `matrix`'s shape in that of the layer's weight."""
    if is_transposed(module):
        values = values.transpose(1, 2)
    return values.reshape(module.weight.shape)


def set_matrix(module: Any, values: Tensor) -> None:
    """Write a matrix of `matrix`'s shape back into the layer."""
    with torch.no_grad():
        module.weight.copy_(weight_of(module, values))


def columns(module: Any) -> int:
    """Matrix columns per input channel: the kernel's positions, 1 for linear and transposed."""
    if isinstance(module, nn.Linear) or is_transposed(module):
        return 1
    return math.prod(module.kernel_size)


def places(module: Any, shape: tuple[int, ...], images: int) -> int:
    """How many rows one image gives, from the shape of the layer's input for so many images."""
    if isinstance(module, nn.Linear):
        return math.prod(shape[:-1]) // images
    if is_transposed(module):
        return math.prod(shape[2:])
    extents = zip(
        shape[2:], module.kernel_size, module.stride, _padding(module), module.dilation, strict=True
    )
    total = 1
    for extent, kernel, stride, pad, dilation in extents:
        total *= (extent + pad[0] + pad[1] - dilation * (kernel - 1) - 1) // stride + 1
    return total


def input_rows(module: Any, values: Tensor, chosen: Tensor) -> Tensor:
    """Rows that the layer reads at chosen places: [images x places, runs, columns of a run].

    Args:
        module: The layer.
        values: Its input, images first; a linear layer may read several parts of each image.
        chosen: [images, places] indices into the output's positions, row by row.
    """
    runs = runs_of(module)
    if isinstance(module, nn.Linear):
        flat = values.reshape(chosen.shape[0], -1, values.shape[-1])
        return _pick(flat, chosen).unsqueeze(1)
    if is_transposed(module):
        flat = values.flatten(2).transpose(1, 2)
        picked = _pick(flat, chosen)
        return picked.view(picked.shape[0], runs, -1)
    return _patches(module, values, chosen, runs)


def output_rows(values: Tensor, chosen: Tensor, channels_last: bool) -> Tensor:
    """Values of an output at chosen places: [images x places, channels]."""
    if channels_last:
        return _pick(values.reshape(chosen.shape[0], -1, values.shape[-1]), chosen)
    return _pick(values.flatten(2).transpose(1, 2), chosen)


def _pick(flat: Tensor, chosen: Tensor) -> Tensor:
    index = chosen.unsqueeze(-1).expand(-1, -1, flat.shape[-1])
    return flat.gather(1, index).reshape(-1, flat.shape[-1])


def _patches(module: Any, values: Tensor, chosen: Tensor, runs: int) -> Tensor:
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    around = [amount for pair in reversed(_padding(module)) for amount in pair]
    beyond = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = F.pad(values, around, beyond)
    images, channels, *extents = padded.shape
    written = [
        (extent - spread * (taps - 1) - 1) // step + 1
        for extent, taps, step, spread in zip(extents, kernel, stride, dilation, strict=True)
    ]
    corner, offsets, left = torch.zeros_like(chosen), torch.zeros(1, dtype=torch.int64), chosen
    for axis, taps in reversed(list(enumerate(kernel))):
        apart = math.prod(extents[axis + 1 :])
        corner += left % written[axis] * stride[axis] * apart
        left = left // written[axis]
        along = torch.arange(taps) * dilation[axis] * apart
        offsets = (along.unsqueeze(1) + offsets).flatten()
    index = (corner.unsqueeze(-1) + offsets).view(images, 1, -1)
    picked = padded.flatten(2).gather(2, index.expand(-1, channels, -1))
    picked = picked.view(images, channels, -1, len(offsets)).permute(0, 2, 1, 3)
    return picked.reshape(-1, runs, channels // runs * len(offsets))


def _padding(module: Any) -> list[tuple[int, int]]:
    if isinstance(module.padding, str):
        if module.padding == "valid":
            return [(0, 0)] * len(module.kernel_size)
        totals = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(pad, pad) for pad in module.padding]
