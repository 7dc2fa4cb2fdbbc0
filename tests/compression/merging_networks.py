"""Networks whose layers can become one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Chain(nn.Module):
    """Three convolutions in a row, whose channels can go, then a residual branch of two."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 10, 1)
        self.c = nn.Conv2d(10, 8, 3, padding=1, stride=2)
        self.body = Body()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.c(F.relu(self.b(F.relu(self.a(x))))))
        return self.head(self.body(x).mean((2, 3)))


class Body(nn.Module):
    """1 x 1, depthwise, 1 x 1, added to what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.project = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1)
        self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=16)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.project(F.relu6(self.depth(F.relu6(self.expand(x))))))


class Straight(nn.Module):
    """Two convolutions with nothing between, of which the first alone pads."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.two(self.one(x))).mean((2, 3)))
