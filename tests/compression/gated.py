"""Networks with gates of channels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor
SHAPE = (1, 3, 8, 8)


class Gating(nn.Module):
    """Squeeze-and-excitation."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * self.expand(y).sigmoid()


class Gated(nn.Module):
    """A stem, a residual block with a gate between its convolutions, one without a shortcut."""

    class Block(nn.Module):
        def __init__(self, read: int, inner: int, write: int, groups: int = 1) -> None:
            super().__init__()
            self.up = nn.Conv2d(read, inner, 1)
            self.deep = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
            self.se = Gating(inner, 4)
            self.down = nn.Conv2d(inner, write, 1, groups=groups)
            self.skip = read == write

        def forward(self, x: Tensor) -> Tensor:
            y = F.hardswish(self.deep(F.hardswish(self.up(x))))
            y = self.down(self.se(y))
            return x + y if self.skip else y

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(12, 4)
        self.one, self.two = self.Block(8, 16, 8), self.Block(8, 16, 12, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(F.relu(self.stem(x)))).mean((2, 3)))


class GateBeforeSum(nn.Module):
    """SE-ResNet: a shortcut is added to what the gate writes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.se, self.head = Gating(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(F.relu(x + self.se(self.conv(x))).mean((2, 3)))
