"""Normalising layers: what goes together, what is cut, and over what statistics are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from exact import gap, scrambled, share_left, some
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.labels import NORMALISED
from automl.network.surgery import mask, smaller
from automl.network.traced_model import TracedModel, trace_network

SHAPE = (1, 3, 16, 16)


class ChannelsSecond(nn.LayerNorm):
    """A layer norm over the channels of maps, as ConvNeXt's downsampling has."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias)
        return x.permute(0, 3, 1, 2)


class GroupNormAct(nn.GroupNorm):
    """A group norm with its activation inside."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps))


def read(norm: Callable[[int], nn.Module], shape: tuple[int, ...] = SHAPE) -> TracedModel:
    """Two convolutions, a norm and a ReLU after each, then a third."""
    torch.manual_seed(0)
    first, second, third = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 48, 3), nn.Conv2d(48, 4, 3)
    model = nn.Sequential(first, norm(32), nn.ReLU(), second, norm(48), nn.ReLU(), third)
    return trace_network(scrambled(model), shape, resolutions=())


EXACT: dict[str, tuple[Callable[[int], nn.Module], list[int]]] = {
    "sync batch": (nn.SyncBatchNorm, [32, 48]),
    "instance": (nn.InstanceNorm2d, [32, 48]),
    "instance, affine": (lambda c: nn.InstanceNorm2d(c, affine=True), [32, 48]),
    "instance, of the training": (
        lambda c: nn.InstanceNorm2d(c, affine=True, track_running_stats=True),
        [32, 48],
    ),
    "one group a channel": (lambda c: nn.GroupNorm(c, c), [32, 48]),
    "whole groups": (lambda c: nn.GroupNorm(8, c), [8, 8]),
    "whole groups, own forward": (lambda c: GroupNormAct(8, c), [8, 8]),
}
STREAMS: dict[str, Callable[[int], nn.Module]] = {
    "one group": lambda c: nn.GroupNorm(1, c),
    "layer norm over maps": ChannelsSecond,
    "layer norm without weights": lambda c: ChannelsSecond(c, elementwise_affine=False),
}


@pytest.mark.parametrize("name", EXACT)
def test_channels_that_are_normalised_apart_go_alone_others_by_whole_groups(name: str) -> None:
    norm, channels = EXACT[name]
    traced = read(norm)
    assert [group.channels for group in traced.network.groups] == channels
    assert traced.network.unprunable == ()
    kept = some(traced)
    wrong, effect = gap(traced, SHAPE, kept)
    assert wrong < 1e-12 < 0.1 < effect
    # a half of the outputs of the first and the inputs of the last, a quarter between
    assert share_left(traced, kept) == pytest.approx(0.2866666)


@pytest.mark.parametrize("name", STREAMS)
def test_statistics_are_taken_over_what_stays(name: str) -> None:
    traced = read(STREAMS[name])
    assert [group.channels for group in traced.network.groups] == [32, 48]
    wrong, effect = gap(traced, SHAPE, some(traced))
    assert wrong < 1e-12 < 0.1 < effect


def test_of_a_stream_the_masked_network_is_the_norm_over_the_kept_channels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.Linear(12, 3))
    traced = trace_network(scrambled(model), (1, 5, 6))
    kept = {"0": torch.tensor([0, 3, 4, 9])}
    read, norm, write = (layer.double() for layer in traced.model.double())  # type: ignore[operator]
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    at = kept["0"]
    values: Any = read(x)[..., at]
    centred = values - values.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    expected = (normed * norm.weight[at] + norm.bias[at]) @ write.weight[:, at].T + write.bias
    for made in (smaller, mask):
        found = made(traced.model, traced.network.groups, kept)(x)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_streams_of_tokens(kind: Callable[[int], nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 24), kind(24), nn.Linear(24, 16), kind(16), nn.Linear(16, 4))
    traced = trace_network(scrambled(model), (1, 5, 8))
    assert [group.channels for group in traced.network.groups] == [24, 16]
    kept = some(traced)
    wrong, effect = gap(traced, (1, 5, 8), kept)
    assert wrong < 1e-12 < 0.1 < effect
    priced = {layer.name: layer for layer in traced.network.shapes({"0": 12, "2": 4})}
    assert [(priced[name].op, priced[name].in_channels) for name in ("1", "3")] == [
        ("norm", 12),
        ("norm", 4),
    ]


class Volumes(nn.Module):
    """A batch norm over volumes, after what it cannot be folded into."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3), nn.BatchNorm3d(12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x)).unsqueeze(2)
        return self.head(self.norm(x).mean((2, 3, 4)))


def test_batch_norms_of_volumes() -> None:
    torch.manual_seed(0)
    traced = trace_network(scrambled(Volumes()), SHAPE, resolutions=())
    assert [group.channels for group in traced.network.groups] == [12]
    wrong, effect = gap(traced, SHAPE, some(traced))
    assert wrong < 1e-12 < 0.01 < effect


class Flat(nn.Module):
    """A layer norm over channels and places together."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.LayerNorm((8, 14, 14))
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stem(x)))


def test_norms_over_channels_and_places_leave_them_alone() -> None:
    network = trace_network(Flat(), SHAPE, resolutions=()).network
    assert not network.groups
    assert [(part.name, part.reason) for part in network.unprunable] == [("stem", NORMALISED)]


def test_norms_along_places_leave_channels_free() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LayerNorm(14), nn.Conv2d(8, 4, 1))
    traced = trace_network(scrambled(model), SHAPE, resolutions=())
    assert [group.channels for group in traced.network.groups] == [8]
    wrong, effect = gap(traced, SHAPE, some(traced))
    assert wrong < 1e-12 < 0.01 < effect
