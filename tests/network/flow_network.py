"""A network with two residual blocks, an activation that stays float, and a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.traced_model import TracedModel, trace_network


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + x)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Residual(), Residual())
        self.silu, self.wide = nn.SiLU(), nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(x)))
        scores: Tensor = self.head(self.silu(self.wide(x)).mean((2, 3)))
        return scores


def traced_small() -> TracedModel:
    """The network, traced."""
    torch.manual_seed(0)
    return trace_network(Small().eval(), (1, 3, 8, 8), resolutions=())
