"""Each parameter is counted with one layer, whatever reads it; MACs are those that torch counts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from automl.network.layers import Network, Parameters
from automl.network.traced_model import TracedModel, trace_network


def elements(network: Network) -> int:
    """All parameters that are counted with the layers of a network."""
    total = 0
    for plan in network.plans:
        layer, held = plan.layer, plan.parameters
        if held.weights:
            total += layer.in_channels * layer.out_channels // layer.groups * numbers(layer.kernel)
        total += held.per_output * layer.out_channels + held.fixed
    return total


def numbers(kernel: tuple[int, ...]) -> int:
    return int(torch.tensor(kernel).prod())


def counted(traced: TracedModel) -> float:
    """What torch counts, recurrent layers step by step, as it runs them in double precision."""
    model = copy.deepcopy(traced.model).double()
    example = torch.randn(traced.network.input_shape, dtype=torch.float64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example)
    return counter.get_total_flops() / 2


class Sequences(nn.Module):
    """Rows of features through a recurrent layer, of which the last output is classified."""

    def __init__(self, recurrent: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 8)
        self.recurrent = recurrent(8, 12, batch_first=True, **options)
        self.leave = nn.Linear(24 if options.get("bidirectional") else 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(F.relu(self.recurrent(F.relu(self.enter(x)))[0][:, -1]))


class Words(nn.Module):
    """An embedding with positions, whose table is the output layer's weights as well."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.mix = nn.Linear(8, 8)
        self.out = nn.Linear(8, 11)
        self.out.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        words = self.table(x.abs().mul(3).long() % 11) + self.positions
        return self.out(F.gelu(self.mix(words)).amax(1))


class Standardised(nn.Module):
    """Weights made of others in the forward pass, and a matrix that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.shift = nn.Parameter(torch.randn(6))
        self.matrix = nn.Parameter(torch.randn(6, 4))
        self.scale = nn.Parameter(torch.randn(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean()) / self.weight.std()
        maps = F.conv2d(x, weight, self.shift, padding=1) * self.scale
        return torch.einsum("bchw,cd->bd", maps, self.matrix)


def video() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(6, 6, 3, padding=1, groups=6), nn.ConvTranspose3d(6, 4, 2, 2),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def sound() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 5, 2), nn.SiLU(), nn.MaxPool1d(2), nn.ConvTranspose1d(8, 6, 4, 2),
        nn.PReLU(6), nn.GroupNorm(2, 6), nn.Conv1d(6, 3, 1),
    )  # fmt: skip


class Frames(nn.Module):
    """A clip whose frames are merged into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2), nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.silu(self.norm(self.conv(x.flatten(0, 1))))
        return self.head(maps.mean((2, 3)).view(1, x.shape[1], -1).mean(1))


class Pairs(nn.Module):
    """One layer that is used twice, and a dead end that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.shared(F.relu(self.shared(x)))))


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "lstm": (Sequences(nn.LSTM, num_layers=2), (1, 5, 6)),
    "lstm, both ways": (Sequences(nn.LSTM, bidirectional=True), (1, 5, 6)),
    "gru": (Sequences(nn.GRU, num_layers=2, bidirectional=True), (1, 5, 6)),
    "rnn": (Sequences(nn.RNN), (1, 5, 6)),
    "words": (Words(), (1, 5)),
    "computed weights": (Standardised(), (1, 3, 6, 6)),
    "video": (video(), (1, 2, 4, 8, 8)),
    "sound": (sound(), (1, 2, 40)),
    "frames": (Frames(), (1, 4, 3, 9, 9)),
    "shared": (Pairs(), (1, 8)),
}


@pytest.fixture(params=NETWORKS)
def traced(request: pytest.FixtureRequest) -> TracedModel:
    model, shape = NETWORKS[request.param]
    return trace_network(model, shape, resolutions=())


def test_every_parameter_is_counted_once(traced: TracedModel) -> None:
    assert elements(traced.network) == sum(each.numel() for each in traced.model.parameters())


def test_macs_are_those_that_torch_counts(traced: TracedModel) -> None:
    assert sum(layer.macs for layer in traced.network.layers) == counted(traced) > 0
    assert not traced.network.unpriced


def test_what_goes_with_channels_scales_with_them() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    plan = trace_network(model, (1, 3, 8, 8)).network.plans[0]
    assert plan.outputs.parts
    assert plan.parameters == Parameters(weights=True, per_output=1)


def test_a_layers_own_are_those_of_its_operator() -> None:
    assert Parameters.usual("conv3d") == Parameters(weights=True, per_output=1)
    assert Parameters.usual("norm") == Parameters(per_output=2)
    assert Parameters.usual("add") == Parameters()
