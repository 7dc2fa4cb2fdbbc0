"""Modules made again from the names that operators keep."""

from __future__ import annotations

import copy

import torch
from exported_networks import Maps, exported, made
from torch import Tensor, nn
from torch.nn import functional as F

from automl.userdata.exported import from_exported
from automl.userdata.exported_modules import Exported, put


class Often(nn.Module):
    """Calls one module twice, and one whose weights another module reads."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
        self.once = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.once(self.twice(self.twice(x)))
        return F.linear(x.mean((2, 3)), self.head.weight) + self.head(x.amax((2, 3)))


def test_a_module_that_runs_once_is_one_again() -> None:
    model = made(Often)
    network = from_exported(exported(model))
    assert isinstance(network.get_submodule("once"), Exported)
    assert not isinstance(network.get_submodule("twice"), Exported)
    assert isinstance(network.get_submodule("twice.0"), nn.Conv2d)
    layers = [each for each in network.modules() if isinstance(each, nn.Linear)]
    assert len(layers) == 2
    assert layers[0].weight is layers[1].weight
    inputs = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(network(inputs), model(inputs))


def test_a_copy_keeps_what_was_noted_and_put() -> None:
    network = from_exported(exported(made(Maps)))
    block = network.get_submodule("blocks.0")
    block.noted = (1, 2)
    seen = list[str]()
    network.register_forward_pre_hook(lambda *_: seen.append("called"))
    put(network, "stem", nn.Conv2d(3, 16, 1))
    other = copy.deepcopy(network)
    assert other.get_submodule("blocks.0").noted == (1, 2)
    inputs = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(other(inputs), network(inputs))
    assert len(seen) == 2
    assert other.get_submodule("stem").weight is not network.get_submodule("stem").weight


def test_a_module_is_put_where_there_was_nothing() -> None:
    root, layer = nn.Module(), nn.Linear(1, 1)
    put(root, "a.b.c", layer)
    assert root.get_submodule("a.b.c") is layer
