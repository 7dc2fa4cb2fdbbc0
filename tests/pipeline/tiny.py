"""A small model with its data, and a table that prices every choice of it by a formula."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.cost import required_keys
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey, op_key
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.network.layers import Network
from automl.network.traced_model import trace_network
from automl.pipeline.granularity import probe_keys
from automl.pipeline.requests import SearchRequest, Task
from automl.policy.precisions import Precisions, bits_of
from automl.space import build_space
from automl.userdata.data import Batches, Data

SHAPE = (1, 3, 16, 16)


class Tiny(nn.Module):
    """A stem, a residual block and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.block, self.head = Residual(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


class Residual(nn.Module):
    """Two convolutions around the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.outer(F.relu(self.inner(x))))


class Twins(Tiny):
    """Two layers of the same weights, of which a file computes one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
        self.two.load_state_dict(self.one.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.head(self.block(self.one(x) + self.two(x)).mean((2, 3)))


def model() -> nn.Module:
    """The same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny().eval()


def batches(seed: int, *sizes: int) -> Batches:
    """Random inputs; the target is what the dense model says."""
    generator, dense = torch.Generator().manual_seed(seed), model()
    inputs = [torch.randn(size, *SHAPE[1:], generator=generator) for size in sizes]
    with torch.no_grad():
        return Batches(tuple((x, dense(x)) for x in inputs))


def loaders() -> tuple[Batches, Batches]:
    """Training and validation data, as the command reads them from a user's file."""
    return batches(1, 8, 4), batches(2, 5, 1)


def agreement(network: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> float:
    """How near the outputs are to the dense model's; 0 is the best."""
    return -float(sum((network(x) - y).square().sum() for x, y in data))


def task(test: bool = True) -> Task:
    """The tiny model with 12 calibration inputs, 5 + 1 for validation and 4 for the test."""
    data = Data(batches(1, 8, 4), batches(2, 5, 1), batches(3, 4) if test else None)
    return Task(model(), data, agreement, SHAPE, "tiny", "random", "agreement")


def request(target: Path | str, out: Path, *budget: str, **changes: Any) -> SearchRequest:
    """A short search with granularity 4."""
    settings: dict[str, Any] = {"trials": 4, "round_to": 4, "resolutions": (12, 16)} | changes
    task_ = settings.pop("task", task())
    return SearchRequest(task=task_, target=str(target), budget=budget, out=out, **settings)


def seconds(key: OpKey) -> float:
    """Time of an operator that runs channels in fours, integers at half the time."""
    written = -(-key.out_channels // 4) * 4
    area = key.out_size[0] * key.out_size[1]
    if key.op == "convert":
        return 1e-9 * key.in_channels * area
    share = 0.5 if key.precision == "int8" else 1.0
    return 1e-7 + share * 1e-9 * key.in_channels * written * area


def write_table(path: Path, *precisions: str) -> Path:
    """A table of a made-up board that holds all operators that a search over the model asks for."""
    network, names = tiny_network(), precisions or ("fp32",)
    offered = Precisions(names)
    space = build_space(network, round_to=2, precisions=offered.bits)
    keys = {*required_keys(network, space, precisions=offered), *probe_keys(network, offered.dense)}
    rows = [Row(key, seconds(key), 0.01, 9) for key in keys]
    header = TableHeader(
        name="board",
        device="Made-up board",
        runtime="onnxruntime",
        threads=1,
        precisions=names,
    )
    LatencyTable.create(path, header, rows)
    return path


def write_simulator(path: Path) -> Path:
    """A table in cycles, of convolutions and linear layers alone, at the dense shapes."""
    network = tiny_network()
    names = ("w2a2", "w4a4", "w8a8")
    rows = [
        Row(key, 1e9 * seconds(key) * bits_of(name).weights / 8, 0.0, 1, "fitted")
        for name in names
        for layer in network.layers
        if layer.op in ("conv2d", "linear")
        for key in [op_key(layer, name)]
    ]
    header = TableHeader(
        name="simulated", device="Chip", runtime="simulator", precisions=names, unit="cycles"
    )
    LatencyTable.create(path, header, rows)
    return path


def tiny_network() -> Network:
    """What is read from the model."""
    return trace_network(model(), SHAPE, resolutions=(12, 16)).network
