"""Parameters and buffers that hold a value per channel are cut with the channels."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.constants import axis_of, axis_side
from automl.network.groups import group_channels
from automl.network.held import constants_of
from automl.network.surgery import mask, smaller
from automl.network.trace import record
from automl.network.traced_model import trace_network

MAPS, TOKENS = (1, 3, 8, 8), (1, 5, 6)


def drawn(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.rand(shape) + 0.5)


class Maps(nn.Module):
    """Constants written in the middle of a forward on maps."""

    scale: Tensor
    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, padding=1)
        self.narrow, self.head = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.gamma, self.place = drawn(8), drawn(1, 8, 8, 8)
        self.register_buffer("scale", torch.rand(1, 12, 1, 1) + 0.5)
        self.register_buffer("kept", torch.rand(12) + 0.5)
        self.shift = torch.rand(12, 1, 1)  # neither parameter nor buffer

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) + self.place
        y = (self.wide(x) - self.shift) * (self.scale * (self.kept.view(1, -1, 1, 1) + 1).rsqrt())
        return self.head(x + self.gamma[:, None, None] * self.narrow(F.relu(y)))


class Tokens(nn.Module):
    """A class token, two position embeddings laid one after another, a layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.down = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 16)
        self.head = nn.Linear(16, 4)
        self.token, self.first, self.rest = drawn(1, 1, 16), drawn(1, 1, 16), drawn(5, 16)
        self.gamma = drawn(16)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.cat([self.first, self.rest[None]], 1)
        x = places + torch.cat([self.token.expand(len(x), -1, -1), self.stem(x)], 1)
        x = x + self.down(F.gelu(self.up(x))) * self.gamma
        return self.head(x[:, 0])


class Resized(nn.Module):
    """A position embedding that is laid out as a map and resized to the tokens' own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 2, 2), nn.Linear(16, 4)
        self.place = drawn(1, 9, 16)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        place = self.place.reshape(1, 3, 3, -1).permute(0, 3, 1, 2)
        place = F.interpolate(place, size=(4, 4), mode="bilinear")
        return self.head(torch.relu(tokens + place.permute(0, 2, 3, 1).flatten(1, 2)))


class Shared(nn.Module):
    """One scale that two branches hold: their channels go together."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, padding=1)
        self.gamma, self.inner = drawn(8, 1, 1), nn.Module()
        self.inner.held = self.gamma
        self.one, self.two = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner: Any = self.inner
        left, right = self.left(x) * self.gamma, self.right(x) * inner.held
        return self.one(torch.relu(left)) + self.two(torch.relu(right))


CASES: dict[str, tuple[type[nn.Module], tuple[int, ...], dict[str, int]]] = {
    "maps": (Maps, MAPS, {"stem": 8, "wide": 12}),
    "tokens": (Tokens, TOKENS, {"stem": 16, "up": 12}),
    "resized": (Resized, MAPS, {"stem": 16}),
    "shared": (Shared, MAPS, {"left": 8}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_cut_computes_what_the_masked_network_does(case: str) -> None:
    kind, shape, groups = CASES[case]
    torch.manual_seed(0)
    traced = trace_network(kind().eval(), shape, resolutions=())
    network = traced.network
    assert {group.name: group.channels for group in network.groups} == groups
    assert not network.unprunable
    double, example = copy.deepcopy(traced.model).double(), torch.randn(shape).double()
    if case == "maps":
        double.shift = double.shift.double()  # type: ignore[operator]
    kept = {name: torch.arange(1, count, 2) for name, count in groups.items()}
    small = smaller(double, network.groups, kept)
    expected = mask(double, network.groups, kept)(example)
    torch.testing.assert_close(small(example), expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(expected, double(example))


def test_all_modules_that_hold_a_constant_hold_the_cut_one() -> None:
    traced = trace_network(Shared().eval(), MAPS)
    small: Any = smaller(traced.model, traced.network.groups, {"left": torch.arange(3)})
    assert small.gamma is small.inner.held
    assert small.gamma.shape == (3, 1, 1)
    assert isinstance(small.gamma, nn.Parameter)


def test_a_table_is_looked_up_by_channels() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(20, 16), nn.Embedding(9, 16)
            self.layer, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.words(x) + self.places(torch.arange(x.shape[1]))
            return self.head(y + self.layer(y))

    (group,) = group_channels(record(Text().eval(), torch.randint(0, 20, (1, 9))), {}).groups
    sides = [(side.module, side.side) for side in group.producers]
    assert sorted(sides) == [
        ("layer", "out"),
        ("places.weight", "axis1"),
        ("words.weight", "axis1"),
    ]


class Crossed(nn.Module):
    """A square of constants that meets channels once along each of its axes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 5), nn.Linear(5, 4)
        self.square = drawn(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x) * self.square + self.square.T)


def test_both_axes_of_a_constant_may_lie_along_channels() -> None:
    traced = trace_network(Crossed().eval(), TOKENS)
    assert not traced.network.groups  # its other axis is of fixed size
    (reason,) = traced.network.unprunable
    assert reason.name == "stem"


def test_values_of_layers_are_no_constants_of_their_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.PReLU(4))
    assert not constants_of(model)


def test_a_side_tells_its_axis() -> None:
    assert axis_of(axis_side(2)) == 2
    assert [axis_of(side) for side in ("in", "out", "through")] == [None, None, None]
