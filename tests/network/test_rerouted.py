"""Linear layers that are called by their weights are called as layers in what is read."""

from __future__ import annotations

import copy

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.rerouted import reroute
from automl.network.traced_model import trace_network

SHAPE = (1, 5, 8)


def attend(x: Tensor, heads: int, qkv: Tensor, bias: Tensor, o: nn.Linear) -> Tensor:
    """Attention as a function, given weights."""
    b, n, c = x.shape
    bias = bias.clone()
    bias[c : 2 * c].zero_()
    parts = F.linear(x, qkv, bias).reshape(b, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(*parts.unbind(0))
    return F.linear(mixed.transpose(1, 2).reshape(b, n, c), o.weight, bias=o.bias)


class ByWeights(nn.Module):
    """The weights of queries, keys and values without bias; two biases of its own, or one."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(16, 48, bias=whole), nn.Linear(16, 16)
        if not whole:
            self.q_bias, self.v_bias = (nn.Parameter(torch.randn(16)) for _ in range(2))
            self.register_buffer("k_bias", torch.zeros(16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.qkv.bias
        if bias is None:
            bias = torch.cat((self.q_bias, self.k_bias, self.v_bias))
        return attend(x, 2, self.qkv.weight, bias, self.o)


class Moving(nn.Module):
    """The bias comes from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.shift = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.layer.weight, self.shift(x).mean((0, 1)))


class Around(nn.Module):
    """Between an embedding and a head."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.embed, self.inner, self.head = nn.Linear(8, 16), inner, nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head((x + self.inner(x)).mean(1))


@pytest.mark.parametrize("whole", [False, True])
def test_attention_by_weights_is_read_as_that_by_layers(whole: bool) -> None:
    torch.manual_seed(0)
    model = scrambled(Around(ByWeights(whole)))
    traced = trace_network(model, SHAPE)
    x = torch.randn(3, *SHAPE[1:])
    torch.testing.assert_close(traced.model(x), model(x), rtol=1e-5, atol=1e-5)
    assert traced.network.unprunable == ()
    found = [(group.channels, group.width) for group in traced.network.groups]
    assert found == [(16, 1), (2, 8), (8, 1), (8, 1)]
    for seed in range(2):
        wrong, effect = gap(traced, SHAPE, some(traced, seed))
        assert wrong < 1e-12 < 1e-3 < effect


def test_the_users_model_is_left_as_it_is() -> None:
    model = scrambled(Around(ByWeights(whole=False)))
    before = copy.deepcopy(model.state_dict())
    trace_network(model, SHAPE)
    assert model.state_dict().keys() == before.keys()
    assert "forward" not in vars(model.inner)


def test_biases_that_depend_on_the_input_are_left() -> None:
    torch.manual_seed(0)
    model = Around(Moving()).eval().requires_grad_(False)
    reroute(model, torch.randn(SHAPE))
    assert "forward" not in vars(model.inner)
    assert trace_network(model, SHAPE).network.unprunable != ()
