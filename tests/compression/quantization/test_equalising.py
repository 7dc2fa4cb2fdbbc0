"""Channels scaled alike: the network stays, and what one scale a layer loses falls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.config import CompressionConfig
from automl.compression.quantization.equalising import LayerPair, equalised, layer_pairs
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits, Policy
from automl.testing.networks import compressor_of, drawn, loss

SHAPE = (1, 3, 8, 8)
#: Of all pairs of the chain: conv, depthwise, grouped, convolution before a pool and a head.
CHAIN = ["first.depthwise", "depthwise.grouped", "grouped.last", "last.head"]


class Chain(nn.Module):
    """Layers that follow each other past ReLUs and pools."""

    def __init__(self, act: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(16, 12, 1, groups=2, bias=False)
        self.last, self.head = nn.Conv2d(12, 10, 3), nn.Linear(10, 5)
        self.act = act

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        found = self.grouped(self.act(self.depthwise(self.act(self.first(images)))))
        found = self.last(F.max_pool2d(self.act(found), 2)).relu()
        logits: Tensor = self.head(found.mean((2, 3)))
        return logits


class Shared(nn.Module):
    """Channels that an addition reads, that two layers read, and that are put out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
        self.one, self.two = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Maps."""
        found = F.relu(self.stem(images) + self.side(images))
        return self.one(found) * self.two(found)


def named(traced: TracedModel) -> list[str]:
    return [f"{each.first}.{each.second}" for each in layer_pairs(traced)]


def chain(act: Callable[[Tensor], Tensor] = F.relu) -> TracedModel:
    return trace_network(drawn(lambda: Chain(act), 0).eval(), SHAPE, resolutions=())


def scaled_badly(traced: TracedModel) -> TracedModel:
    """The same function with channels of very different sizes between layers."""
    model, generator = copy.deepcopy(traced.model), torch.Generator().manual_seed(0)
    layers: dict[str, Any] = dict(model.named_modules())
    for pair in (LayerPair("first", "depthwise"), LayerPair("grouped", "last")):
        first, second = layers[pair.first], layers[pair.second]
        factors = torch.exp(1.5 * torch.randn(len(first.weight), generator=generator))
        first.weight.mul_(factors.view(-1, 1, 1, 1))
        if first.bias is not None:
            first.bias.mul_(factors)
        if second.groups > 1:
            second.weight.div_(factors.repeat_interleave(2).view(-1, 1, 1, 1))
        else:
            second.weight.div_(factors.view(1, -1, 1, 1))
    return replace(traced, model=model)


def test_finds_the_layers_that_alone_read_each_other() -> None:
    assert named(chain()) == CHAIN


def test_leaves_what_is_shared_alone() -> None:
    traced = trace_network(drawn(Shared, 0).eval(), SHAPE, resolutions=())
    assert named(traced) == []
    assert equalised(traced) is traced


def test_a_clip_keeps_no_factor() -> None:
    assert named(chain(F.relu6)) == ["last.head"]


@pytest.mark.parametrize("act", [F.relu, lambda values: F.leaky_relu(values, 0.1)])
def test_the_network_computes_the_same(act: Callable[[Tensor], Tensor]) -> None:
    before = scaled_badly(chain(act))
    after = equalised(before)
    images = torch.randn((16, *SHAPE[1:]), generator=torch.Generator().manual_seed(1))
    written: list[Any] = [each.model.get_submodule("first") for each in (before, after)]
    assert not torch.equal(written[0].weight, written[1].weight)
    assert torch.allclose(after.model(images), before.model(images), atol=1e-5)


def test_channels_of_both_layers_are_as_large() -> None:
    layers: dict[str, Any] = dict(equalised(scaled_badly(chain())).model.named_modules())
    written = layers["grouped"].weight.abs().amax((1, 2, 3))
    read = layers["last"].weight.abs().amax((0, 2, 3))
    assert torch.allclose(written, read, rtol=1e-2)


def test_channels_that_are_alike_stay() -> None:
    traced = equalised(scaled_badly(chain()))
    assert equalised(traced) is traced


def test_a_dead_channel_blows_nothing_up() -> None:
    traced = scaled_badly(chain())
    layer: Any = traced.model.get_submodule("last")
    layer.weight[:, 0] = 0.0
    model = equalised(traced).model
    assert all(bool(torch.isfinite(each).all()) for each in model.parameters())


@pytest.mark.parametrize("rounding", ["false", "true"])
def test_one_scale_a_layer_loses_less(rounding: str) -> None:
    """A network that fails without."""
    errors = {}
    for equalise in ("false", "true"):
        config = CompressionConfig(
            quantization=f"per-tensor:equalise={equalise},nearest={rounding}"
        )
        compressor = compressor_of(scaled_badly(chain()), config, scheme="qdq-u8s8")
        bits = dict.fromkeys(compressor.joint.flow.layers, Bits(8, 8))
        errors[equalise] = loss(compressor, compressor.make(Policy(bits=bits)))
    assert errors["true"] < 0.1 * errors["false"]
