"""A small network of many kinds of operators, quantised: rounded to nearest, ranges calibrated."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.layer_matrix import matrix, set_matrix
from automl.compression.memory import ImageParts
from automl.compression.quantization.calibrating import CalibrationMode
from automl.compression.quantization.qparams import QParams, round_to, values, weight_qparams
from automl.compression.quantization.simulation import QuantizedModel, is_per_tensor, make_plan
from automl.network.precision import Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits

SHAPE = (1, 3, 16, 16)
INT8 = Bits(8, 8)


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.norm(self.first(x)))) + x)


class Net(nn.Module):
    """A residual block, a padded shortcut, pools, a concatenation, a resize, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 16, 3, padding=1), Block(16)
        self.down = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.one, self.two = nn.Conv2d(24, 16, 1), nn.Conv2d(24, 16, 3, padding=1)
        self.last = nn.Conv2d(32, 32, 1)
        self.hidden, self.head = nn.Linear(32, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(F.relu(self.stem(x)))
        x = F.relu(self.down(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        pooled = F.interpolate(F.max_pool2d(x, 2), scale_factor=2.0, mode="nearest")
        x = torch.cat([F.relu(self.one(x)), self.two(pooled)], 1)
        x = F.relu(self.last(F.avg_pool2d(x, 2)))
        scores: Tensor = self.head(F.relu(self.hidden(x.mean((2, 3)))))
        return scores


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return trace_network(Net().eval(), SHAPE, resolutions=())


def images(count: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    base = torch.randn((count, 3, 4, 4), generator=generator)
    noise = torch.randn((count, *SHAPE[1:]), generator=generator)
    return F.interpolate(base, size=SHAPE[2:], mode="bilinear") * 2 + 0.3 * noise


def quantised(traced: TracedModel, bits: Mapping[str, Bits], scheme: str | None) -> QuantizedModel:
    """Rounded to nearest, its ranges calibrated: what finishing makes, without its care."""
    plan = make_plan(Flow(traced.trace), bits, scheme)
    qparams: dict[str, QParams] = {}
    network = smaller_copy(traced)
    for name, each in plan.bits.items():
        layer = network.get_submodule(name)
        shared = is_per_tensor(plan.scheme)
        qparams[name] = weight_qparams(matrix(layer), each.weights, per_tensor=shared)
        set_matrix(layer, values(round_to(matrix(layer), qparams[name]), qparams[name]))
    parts = ImageParts(lambda here: images()[here], (slice(0, len(images())),), {})
    walk = CalibrationMode(network, plan, parts)
    walk.calibrate()
    return QuantizedModel(network, plan, walk.qparams, qparams)


def smaller_copy(traced: TracedModel) -> nn.Module:
    network = Net().eval()
    folded = traced.model.state_dict()
    network.block.norm = nn.Identity()  # type: ignore[assignment]
    network.block.first = nn.Conv2d(16, 16, 3, padding=1)
    network.load_state_dict(folded)
    return network.requires_grad_(False)


def all_layers(traced: TracedModel, bits: Bits = INT8) -> dict[str, Bits]:
    return dict.fromkeys(Flow(traced.trace).layers, bits)


def some_layers(traced: TracedModel) -> dict[str, Bits]:
    return {name: INT8 for name in Flow(traced.trace).layers if name not in ("block.second", "two")}
