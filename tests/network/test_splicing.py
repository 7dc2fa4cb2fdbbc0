"""The trace of a network with other modules in layers' places is that of the network that runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.precision import Flow
from automl.network.splicing import place_of, spliced
from automl.network.surgery import replace_layer
from automl.network.trace import record
from automl.network.traced_model import trace_network

SHAPE = (1, 3, 12, 12)


class Padding(nn.Conv2d):
    """Pads by itself, and activates."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias))


class Net(nn.Module):
    """A layer with a forward of its own, a residual addition, one layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.inner = Padding(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.twice, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.own(x)
        x = F.relu(x + self.inner(x))
        x = F.relu(self.twice(F.relu(self.twice(x))))
        return self.head(x.mean((2, 3)))


class Branches(nn.Module):
    """Two halves of the outputs, put together."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), self.right(x)], 1)


def chain(inputs: int) -> nn.Module:
    column = nn.Conv2d(inputs, 3, (3, 1), padding=(1, 0), bias=False)
    return nn.Sequential(column, nn.Conv2d(3, 8, (1, 3), padding=(0, 1)))


PARTS = {
    "own": lambda: nn.Sequential(nn.Conv2d(3, 2, (3, 1), bias=False), nn.Conv2d(2, 8, (1, 3))),
    "inner": Branches,
    "twice": lambda: chain(8),
    "head": lambda: nn.Linear(8, 4),
}


@pytest.mark.parametrize("names", [[name] for name in PARTS] + [list(PARTS)])
def test_it_is_that_of_the_network_that_runs(names: list[str]) -> None:
    traced = trace_network(Net().eval(), SHAPE, resolutions=())
    parts = {name: PARTS[name]().eval() for name in names}
    runs = copy.deepcopy(traced.model)
    for name, part in parts.items():
        replace_layer(runs, name, copy.deepcopy(part))
    expected = record(runs, torch.zeros(SHAPE), labelled=False)
    found = spliced(traced.trace, traced.model, parts)

    def told(calls: list) -> list:
        kinds = ("conv", "linear", "cat", "add", "relu", "mean", "hardtanh", "hardtanh_")
        return [
            (each.step.address, each.step.op, each.step.module, each.in_shapes, each.out_shapes)
            for each in calls
            if each.step.op in kinds
        ]

    assert told(found.calls) == told(expected.calls)
    mine, its = Flow(found), Flow(expected)
    assert mine.layers == its.layers
    for address, place in its.places.items():
        assert mine.places[address].owner == place.owner
        assert mine.places[address].operands == place.operands
        assert mine.places[address].settles == place.settles


def test_the_name_of_what_runs_in_a_layers_place() -> None:
    model = trace_network(Net().eval(), SHAPE, resolutions=()).model
    assert [place_of(model, name) for name in ("own", "inner")] == ["own.stands_in", "inner"]
    names = dict(model.named_modules())
    replace_layer(model, "own", nn.Identity())
    assert "own.stands_in" not in names
    assert "own.stands_in" in dict(model.named_modules())


def test_nothing_is_done_where_nothing_changes() -> None:
    traced = trace_network(Net().eval(), SHAPE, resolutions=())
    assert spliced(traced.trace, traced.model, {}) is traced.trace
