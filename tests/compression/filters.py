"""Networks whose filters are given, for importances that look at weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Chain(nn.Module):
    """A 1 x 1 convolution with these filters, a ReLU, and a convolution that reads it.

    Args:
        filters: [channels, 3].
        scales: Of a batch norm between them; None for none.
    """

    def __init__(self, filters: Sequence[Sequence[float]], scales: Sequence[float] = ()) -> None:
        super().__init__()
        channels = len(filters)
        self.conv = nn.Conv2d(3, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels) if scales else nn.Identity()
        self.head = nn.Conv2d(channels, 4, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor(filters).view(channels, 3, 1, 1))
            if isinstance(self.norm, nn.BatchNorm2d):
                self.norm.weight.copy_(torch.tensor(scales))
                self.norm.running_mean.normal_(generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x)))).mean((2, 3))  # type: ignore[no-any-return]


class Stream(nn.Module):
    """Two layers that write the same channels, one with filters far larger than the other's.

    Args:
        first, second: Their filters: [channels, 3].
    """

    def __init__(self, first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> None:
        super().__init__()
        channels = len(first)
        self.one, self.two = nn.Conv2d(3, channels, 1), nn.Conv2d(3, channels, 1)
        self.head = nn.Conv2d(channels, 4, 1)
        with torch.no_grad():
            self.one.weight.copy_(torch.tensor(first).view(channels, 3, 1, 1))
            self.two.weight.copy_(torch.tensor(second).view(channels, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.one(x) + self.two(x))).mean((2, 3))  # type: ignore[no-any-return]
