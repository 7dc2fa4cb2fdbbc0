"""Gates of channels are found where convolutions alone read them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import Inverted

from automl.network import trace_network

SHAPE = (1, 3, 8, 8)


class Gating(nn.Module):
    """Squeeze-and-excitation; the map may be given by name, and read beside the gate."""

    def __init__(self, channels: int, beside: bool = False) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.beside = beside

    def forward(self, x: Tensor) -> Any:
        gate = self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        return (x * gate, gate) if self.beside else x * gate


class Net(nn.Module):
    """A convolution, a gate, what lies between it and its readers, and these."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.stem, self.se = nn.Conv2d(3, 8, 3, padding=1), Gating(8, way == "beside")
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head, self.way = nn.Linear(12, 2), way

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = 0.0
        if self.way == "named":
            y = self.se(x=x)
        elif self.way == "beside":
            y, gate = self.se(x)
        else:
            y = self.se(x)
        if self.way == "relu":
            y = F.relu(y)
        if self.way == "sigmoid":
            y = y.sigmoid()
        if self.way == "sum":
            y = y + x
        found = torch.cat([self.left(y), self.right(y) + gate], 1)
        return self.head(found.mean((2, 3)))


@pytest.mark.parametrize(
    ("way", "goes"),
    [
        ("plain", True),
        ("relu", True),  # what is scaled before it is scaled after it
        ("sigmoid", False),
        ("sum", False),
        ("named", False),
        ("beside", False),
    ],
)
def test_which_gates_can_go(way: str, goes: bool) -> None:
    gates = trace_network(Net(way).eval(), SHAPE, resolutions=()).network.gates
    assert [gate.name for gate in gates] == ["se"] * goes
    for gate in gates:
        assert gate.chain == ("se.reduce", "se.expand")
        assert {*gate.readers} == {"left", "right"}


def test_all_of_a_network_that_has_many() -> None:
    """Each with its pool, its convolutions, its activation and its product."""
    network = trace_network(Inverted().eval(), (1, 3, 32, 32), resolutions=()).network
    assert [gate.name for gate in network.gates] == [f"blocks.{each}.squeeze" for each in range(3)]
    plans = {plan.layer.name: plan.layer.op for plan in network.plans}
    for gate in network.gates:
        ops = [plans[name] for name in gate.layers]
        assert ops == ["global_avg_pool", "conv2d", "conv2d", "activation", "mul"]
        assert gate.readers == (gate.name.replace("squeeze", "project.0"),)
