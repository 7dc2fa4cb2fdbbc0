"""The weights by which a group's channels are written, layer by layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.compression.layer_matrix import is_transposed, matrix
from automl.network import ChannelGroup, Side, TracedModel

Tensor = torch.Tensor
_LAYERS = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d
    | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
    | nn.Linear
)  # fmt: skip
_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def filters_of(
    group: ChannelGroup, model: nn.Module, *, biases: bool = False
) -> tuple[Tensor, ...]:
    """Per layer that writes the group's channels, all by which it writes each: [channels, numbers].

    Of a layer that writes a channel at several positions, one after another; a depthwise layer's
    filters are those of the channels that it passes on.

    Args:
        group: The group.
        model: The dense network.
        biases: Whether a filter's last number is its bias.
    """
    found = []
    for side in group.producers:
        module = _module(model, side)
        if isinstance(module, _LAYERS):
            rows = _rows(module, biases)
            per_channel = rows.shape[0] // _extent(module, side)
            rows = rows.reshape(-1, per_channel * rows.shape[1])
            found.append(rows[torch.tensor(side.positions)].flatten(1))
    return tuple(found)


def norm_scales_of(group: ChannelGroup, traced: TracedModel) -> tuple[Tensor, ...]:
    """Per batch norm over the group's channels, what it multiplies each by: [channels].

    Norms that were folded into a layer count as they were. Of several positions of a channel, the
    root of the mean square.
    """
    found = []
    for side in group.producers:
        module = _module(traced.model, side)
        scales = traced.norm_scales.get(side.module)
        if isinstance(module, _NORMS) and module.weight is not None:
            scales = module.weight.detach()
        if scales is None:
            continue
        times = max(1, scales.numel() // _extent(module, side))
        at = scales.view(-1, times)[torch.tensor(side.positions)].flatten(1)
        found.append(at.square().mean(1).sqrt())
    return tuple(found)


def _module(model: nn.Module, side: Side) -> nn.Module | None:
    """The module of a side; None where it is a parameter."""
    modules = dict(model.named_modules())
    return modules.get(side.module)


def _rows(module: Any, biases: bool) -> Tensor:
    """[outputs, numbers]: all taps and inputs of each output, then its bias if asked for."""
    values, bias = matrix(module), module.bias.detach()
    # of a transposed layer: runs, outputs x taps, inputs
    rows = values.reshape(bias.numel(), -1) if is_transposed(module) else values.flatten(0, 1)
    return torch.cat([rows, bias.view(-1, 1)], 1) if biases else rows


def _extent(module: Any, side: Side) -> int:
    """How many positions there are along a side."""
    if isinstance(module, nn.Linear):
        return module.in_features if side.side == "in" else module.out_features
    if isinstance(module, _NORMS):
        return module.num_features
    through = side.side in ("in", "through")
    return int(module.in_channels if through else module.out_channels)
