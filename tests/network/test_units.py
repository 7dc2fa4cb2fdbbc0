"""Rows of convolutions are found whole, each layer in one at most."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network import trace_network, units_of
from automl.testing.networks import SHAPE, drawn


class Three(nn.Module):
    """Two residual branches, of which one has groups at its end, around a strided pair."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(12, 4)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.in_groups = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.down, self.out = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.Conv2d(12, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.two(F.relu(self.one(x))))
        x = F.relu(x + self.in_groups(x))
        return self.head(F.relu(self.out(F.silu(self.down(x)))).mean((2, 3)))


def test_rows_of_convolutions_with_activations_between() -> None:
    network = trace_network(drawn(Three, 0).eval(), SHAPE, resolutions=()).network
    found = units_of(network)
    assert [unit.chain for unit in found] == [("one", "two"), ("down", "out")]
    silu = [unit.layers for unit in found if unit.name == "down"]
    assert len(silu[0]) == 3  # an activation that is no ReLU goes with them
    assert [unit.groups for unit in found] == [("one",), ("down",)]
    assert torch.tensor([len(unit.plans) for unit in found]).tolist() == [2, 2]
