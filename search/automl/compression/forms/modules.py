"""Modules that forms run as beside convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

Tensor = torch.Tensor


class Added(nn.Module):
    """The sum of what several modules make of the same input."""

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, inputs: Tensor) -> Tensor:
        """[images, channels, ...] or [..., features]."""
        first, *others = self.parts
        whole: Tensor = first(inputs)
        for part in others:
            whole = whole + part(inputs)
        return whole


class Picked(nn.Module):
    """Channels in another order, some of them several times, some not at all.

    Args:
        index: [written channels], of those that are read.
        dim: Of the channels.
    """

    index: Tensor

    def __init__(self, index: Tensor, dim: int) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.dim = dim

    def forward(self, inputs: Tensor) -> Tensor:
        """[images, channels, ...] or [..., features]."""
        return inputs.index_select(self.dim, self.index)
