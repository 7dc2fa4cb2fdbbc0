"""Layers that can become one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAP = (1, 4, 12, 12)


def drawn(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for each in module.parameters():
        each.data = torch.randn(each.shape, generator=generator) / 4
    return module.eval()


def conv(read: int, write: int, kernel: int = 1, **options: int) -> nn.Conv2d:
    return nn.Conv2d(read, write, kernel, **options)


class Inverted(nn.Module):
    """1 x 1, depthwise, 1 x 1, with what is between written as functions."""

    def __init__(self, act: Callable[[Tensor], Tensor] = F.relu6) -> None:
        super().__init__()
        self.stem = conv(4, 4, 3, padding=1)
        self.expand, self.project = conv(4, 12), conv(12, 4)
        self.depth = conv(12, 12, 3, padding=1, groups=12)
        self.head, self.act = nn.Linear(4, 3), act

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = self.act(self.depth(self.act(self.expand(x))))
        return self.head(F.relu(x + self.project(y)).mean((2, 3)))
