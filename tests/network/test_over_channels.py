"""Statistics over channels that a module writes out: taken over what stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.labels import COUNTED
from automl.network.over_channels import is_over, over_side, parse_over
from automl.network.surgery import mask, smaller
from automl.network.traced_model import TracedModel, trace_network

MAPS, TOKENS = (1, 3, 8, 8), (1, 5, 8)


class Weighted(nn.Module):
    """A module with a factor and a shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.rand(channels) + 0.5) for _ in range(2))
        self.shape = (channels,)


class ResponseNorm(Weighted):
    """GRN of ConvNeXt V2: the length of each channel's map against their mean."""

    def forward(self, x: Tensor) -> Tensor:
        length = x.norm(p=2, dim=(2, 3), keepdim=True)
        scaled = x * (length / (length.mean(dim=1, keepdim=True) + 1e-6))
        return x + torch.addcmul(self.bias.view(1, -1, 1, 1), self.weight.view(1, -1, 1, 1), scaled)


class OverMaps(Weighted):
    """The layer norm over the channels of maps that ConvNeXt brought."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Deviation(Weighted):
    """The same by the standard deviation."""

    def forward(self, x: Tensor) -> Tensor:
        x = (x - x.mean(1, True)) / (x.std(1, keepdim=True) + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Length(Weighted):
    """Each place divided by its length, as torch's function does."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * self.weight[:, None, None]


class Places(Weighted):
    """Spatial attention of CBAM: the mean and the largest channel say how much a place counts."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return x * self.conv(both).sigmoid()


class RootMeanSquare(Weighted):
    """The norm of language models."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Layer(Weighted):
    """A layer norm that is none of torch's: it names its width."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.shape, self.weight, self.bias, 1e-6)


class Bare(Weighted):
    """The same without weights, its width asked for."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) * self.weight


class Root(Weighted):
    """torch's RMS norm, called."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, normalized_shape=self.shape, weight=self.weight)


class Cosine(nn.Module):
    """Attention by the cosine of queries and keys, each of which may lose some of its width."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.qkv, self.o, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).reshape(b, n, c))


ON_MAPS: dict[str, Callable[[int], nn.Module]] = {
    each.__name__: each for each in (ResponseNorm, OverMaps, Deviation, Length, Places)
}
ON_TOKENS: dict[str, Callable[[int], nn.Module]] = {
    each.__name__: each for each in (RootMeanSquare, Layer, Bare, Root)
}


def read(name: str) -> tuple[TracedModel, tuple[int, ...]]:
    """Two layers, one of these after each, then a third."""
    torch.manual_seed(0)
    model: nn.Module
    if name in ON_MAPS:
        norm, shape = ON_MAPS[name], MAPS
        first, second, third = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 16, 3), nn.Conv2d(16, 4, 3)
        model = nn.Sequential(first, norm(12), nn.ReLU(), second, norm(16), nn.ReLU(), third)
    else:
        norm, shape = ON_TOKENS[name], TOKENS
        layers = nn.Linear(8, 12), norm(12), nn.GELU(), nn.Linear(12, 16), norm(16)
        model = nn.Sequential(*layers, nn.Linear(16, 4))
    return trace_network(scrambled(model), shape, resolutions=()), shape


@pytest.mark.parametrize("name", [*ON_MAPS, *ON_TOKENS])
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_statistics_are_taken_over_what_stays(name: str, share: float) -> None:
    traced, shape = read(name)
    assert traced.network.unprunable == ()
    assert [group.channels for group in traced.network.groups] == [12, 16]
    wrong, effect = gap(traced, shape, some(traced, share=share))
    assert wrong < 1e-12 < 1e-3 < effect


def test_the_masked_network_is_the_module_on_the_channels_that_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), ResponseNorm(8), nn.Conv2d(8, 2, 1)).eval()
    traced = trace_network(model, MAPS, resolutions=())
    at = torch.tensor([1, 4, 5])
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    stem, norm, head = traced.model.double()  # type: ignore[misc]
    only = ResponseNorm(3).double()
    only.weight, only.bias = (nn.Parameter(each[at]) for each in (norm.weight, norm.bias))
    expected = F.conv2d(only(stem(x)[:, at]), head.weight[:, at], head.bias)
    for made in (smaller, mask):
        found = made(traced.model, traced.network.groups, {"0": at})(x)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


class Cosines(nn.Module):
    """Between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attention, self.head = nn.Linear(8, 16), Cosine(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head(x + self.attention(x))


def test_lengths_of_queries_are_taken_over_the_places_that_stay() -> None:
    torch.manual_seed(0)
    traced = trace_network(Cosines().eval(), TOKENS)
    assert [group.channels for group in traced.network.groups] == [16, 2, 8, 8]
    for seed in range(3):
        wrong, effect = gap(traced, TOKENS, some(traced, seed))
        assert wrong < 1e-12 < 1e-3 < effect


class Twice(nn.Module):
    """One norm at two places, on channels of which the first are the network's input."""

    def __init__(self, fixed: bool) -> None:
        super().__init__()
        self.norm, self.body = RootMeanSquare(8), nn.Linear(8, 8)
        self.stem = nn.Identity() if fixed else nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(self.norm(self.stem(x)))))


@pytest.mark.parametrize("fixed", [False, True])
def test_a_norm_that_runs_twice_loses_the_same_at_both(fixed: bool) -> None:
    torch.manual_seed(0)
    traced = trace_network(Twice(fixed).eval(), TOKENS)
    assert [group.channels for group in traced.network.groups] == ([] if fixed else [8])
    if not fixed:
        wrong, effect = gap(traced, TOKENS, some(traced))
        assert wrong < 1e-12 < 1e-3 < effect


class Density(nn.Module):
    """Its output is the mean over channels of its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.stem(x).relu()).mean(1)


def test_channels_that_a_statistic_alone_reads_stay() -> None:
    network = trace_network(Density().eval(), MAPS, resolutions=()).network
    assert [group.name for group in network.groups] == ["stem"]
    assert [(part.name, part.reason) for part in network.unprunable] == [("last", COUNTED)]


def test_a_side_is_written_and_read() -> None:
    assert is_over(over_side(3, 1, 8))
    assert parse_over(over_side(3, 1, 8)) == (3, 1, 8)
    assert not is_over("out")
