"""A transformer searched from end to end: heads, widths, embedding, MLPs and blocks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import automl
from automl.cost.model import required_keys
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.network.surgery import smaller
from automl.network.traced_model import trace_network
from automl.pipeline.granularity import probe_keys
from automl.space import build_space
from automl.userdata.data import Batches

SHAPE = (1, 3, 16, 16)


class Attention(nn.Module):
    """Queries, keys and values by one layer, the width named as what went in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(found.transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    """Pre-norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, 4)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Small(nn.Module):
    """Patches, a class token and learned positions, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16) * 0.1)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small().eval()


def batches(seed: int, size: int) -> Batches:
    inputs = torch.randn(size, *SHAPE[1:], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return Batches(((inputs, model()(inputs)),))


def agreement(network: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> float:
    return -float(sum((network(x) - y).square().sum() for x, y in data))


def seconds(key: OpKey) -> float:
    work = key.in_channels * key.out_channels if key.op in ("linear", "matmul", "conv2d") else 9
    return 1e-8 + 1e-10 * work * key.groups * key.in_size[0]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table that prices every choice by a formula, in the working folder of a notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    network = trace_network(model(), SHAPE, resolutions=()).network
    space = build_space(network, round_to=2)
    keys = {*required_keys(network, space), *probe_keys(network, "fp32")}
    header = TableHeader(name="board", device="Board", runtime="onnxruntime", threads=1)
    rows = [Row(key, seconds(key), 0.01, 9) for key in keys]
    LatencyTable.create(tmp_path / "board.jsonl", header, rows)
    return str(tmp_path / "board.jsonl")


def test_a_transformer_is_searched_applied_and_exported(board: str) -> None:
    loaders = (batches(1, 12), batches(2, 6))
    given: dict[str, Any] = {"trials": 4, "round_to": 2, "resolutions": (16,), "score": agreement}
    result = automl.search(model(), loaders, target=board, budget="45%", **given)
    groups = {group.name: group for group in trace_network(model(), SHAPE).network.groups}
    kept = result.policy.policy.channels
    assert {name for name, count in kept.items() if count < groups[name].channels}
    written = json.loads(result.policy_path.read_text())
    assert written["channels"]["blocks.0.attention.qkv"]["dense"] == 4  # heads
    assert written["channels"]["blocks.0.attention.qkv#2"]["dense"] == 4  # the width of each

    inputs = torch.randn(SHAPE)
    with torch.no_grad():
        outputs = result.model(inputs)
    session = onnxruntime.InferenceSession(result.out / "model.onnx")
    found = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
    assert torch.allclose(outputs, torch.from_numpy(found), atol=1e-4)
    applied = automl.apply(result.policy_path, model(), loaders, score=agreement)
    assert applied.compressed.score == pytest.approx(result.compressed.score)


def test_finished_it_is_nearer_to_the_dense_network_than_cut_alone(board: str) -> None:
    loaders, checked = (batches(1, 64), batches(2, 6)), batches(3, 32)
    given: dict[str, Any] = {"trials": 2, "round_to": 2, "resolutions": (16,), "score": agreement}
    result = automl.search(model(), loaders, target=board, budget="60%", **given)
    policy = result.policy.policy
    traced = trace_network(model(), SHAPE, resolutions=(16,))
    kept = {name: torch.arange(count) for name, count in policy.channels.items()}
    plain = smaller(traced.model, traced.network.groups, kept, policy.removed)
    with torch.no_grad():
        assert agreement(result.model, checked) > agreement(plain, checked)
