"""Where channels that are multiplied with each other are written."""

from __future__ import annotations

import pytest
import torch
from attention_forms import SHAPE, build
from exact import gap, some
from torch import Tensor, nn

from automl.network.layers import ChannelPair
from automl.network.traced_model import trace_network


def pair(name: str) -> ChannelPair:
    groups = trace_network(build(name), SHAPE).network.groups
    (found,) = [each for group in groups for each in group.pairs]
    return found


@pytest.mark.parametrize("name", ["separate", "scaled", "normed"])
def test_queries_and_keys_of_layers_of_their_own(name: str) -> None:
    found = pair(name)
    assert [side.module for side in (found.left, found.right)] == ["attention.q", "attention.k"]
    expected = tuple(tuple(8 * head + place for head in range(4)) for place in range(8))
    assert found.left.positions == found.right.positions == expected


@pytest.mark.parametrize("name", ["fused", "chunked"])
def test_queries_and_keys_of_one_layer(name: str) -> None:
    found = pair(name)
    assert found.left.module == found.right.module == "attention.qkv"
    assert found.left.positions[3] == (3, 11, 19, 27)
    assert found.right.positions[3] == (35, 43, 51, 59)


def test_a_single_head() -> None:
    found = pair("single")
    assert [side.module for side in (found.left, found.right)] == ["attention.q", "attention.k"]
    assert found.left.positions == tuple((place,) for place in range(32))


class Fed(nn.Module):
    """The channels of queries are those of the stream that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qk, self.head = nn.Linear(8, 12), nn.Linear(12, 24), nn.Linear(12, 4)
        self.narrow = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        q, k = self.qk(x).chunk(2, -1)
        weights = (self.narrow(q).tanh() @ k.transpose(1, 2)).softmax(-1)
        head: Tensor = self.head(weights @ (x + q))
        return head


def test_what_is_multiplied_is_written_by_the_layer_before_not_by_others_of_its_stream() -> None:
    torch.manual_seed(0)
    traced = trace_network(Fed().eval(), SHAPE)
    (found,) = [each for group in traced.network.groups for each in group.pairs]
    assert [side.module for side in (found.left, found.right)] == ["narrow", "qk"]
    wrong, effect = gap(traced, SHAPE, some(traced))
    assert wrong < 1e-12 < 1e-3 < effect


class Summed(nn.Module):
    """Queries and keys of two layers each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(8, 12) for _ in range(4))
        self.v, self.head = nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.a(x) + self.b(x), self.c(x) + self.d(x)
        head: Tensor = self.head((q @ k.transpose(1, 2)).softmax(-1) @ self.v(x))
        return head


def test_of_the_masked_network_all_that_write_what_is_multiplied_are_silent() -> None:
    torch.manual_seed(0)
    traced = trace_network(Summed().eval(), SHAPE)
    assert [group.name for group in traced.network.groups] == ["a", "v"]
    wrong, effect = gap(traced, SHAPE, some(traced))
    assert wrong < 1e-12 < 1e-3 < effect


class Turned(nn.Module):
    """Keys of a transposed convolution in groups, queries of the stream that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 4, 1)
        self.keys = nn.ConvTranspose2d(12, 12, 2, groups=3)

    def forward(self, x: Tensor) -> Tensor:
        q = self.stem(x)
        weights = (q.flatten(2).transpose(1, 2) @ self.keys(q).flatten(2)).softmax(-1).mean(-1)
        head: Tensor = self.head(q * weights.view(len(x), 1, *q.shape[2:]))
        return head


def test_keys_of_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    shape = (1, 3, 4, 4)
    traced = trace_network(Turned().eval(), shape, resolutions=())
    (group,) = traced.network.groups
    assert group.channels == 4
    wrong, effect = gap(traced, shape, some(traced))
    assert wrong < 1e-12 < 1e-3 < effect
