"""What an index takes out of a value, and constants that lie along heads."""

from __future__ import annotations

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.labels import UnionFind
from automl.network.picking import picked
from automl.network.traced_model import TracedModel, trace_network

SHAPE = (1, 4, 8)


@pytest.mark.parametrize(
    ("op", "rest"),
    [
        ("index", ([None, torch.tensor([2, 0, 0])],)),
        ("index_select", (1, torch.tensor([2, 0, 0]))),
        ("gather", (1, torch.tensor([[[2], [0], [0]]]).expand(1, 3, 4))),
    ],
)
def test_labels_go_with_what_is_taken(op: str, rest: tuple[object, ...]) -> None:
    labels = UnionFind().fresh(4).view(1, 1, 4).expand(1, 5, 4)
    found = picked(op, labels, (None, *rest))
    assert found is not None
    assert found.shape == (1, 3, 4)
    assert found[0].tolist() == [[1, 2, 3, 4]] * 3


def test_choices_among_channels_are_left_to_others() -> None:
    labels = UnionFind().fresh(4).view(1, 4)
    assert picked("index_select", labels, (None, 1, torch.tensor([2, 0]))) is None
    assert picked("sort", labels, (None, 1)) is None


class Biased(nn.Module):
    """Attention with a bias of each head for each distance, taken from a table.

    `way`: how the bias is added. The table is `[distances, heads]`, of "made" by a small network.
    """

    def __init__(self, way: str, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.way, self.heads, self.size = way, heads, width // heads
        self.embed, self.qkv, self.o = (nn.Linear(n, m) for n, m in ((8, 16), (16, 48), (16, 16)))
        self.head = nn.Linear(16, 4)
        shape = (heads, 7) if way == "columns" else (7, heads)
        self.table = nn.Parameter(torch.randn(shape))
        self.scale = nn.Parameter(torch.rand(heads, 1, 1) + 0.5)
        self.gains = nn.Parameter(torch.rand(self.size) + 0.5)
        at = torch.arange(4)[:, None] - torch.arange(4) + 3
        self.register_buffer("at", at)
        self.register_buffer("distances", torch.arange(-3.0, 4.0).view(7, 1))
        if way == "made":
            self.mlp = nn.Sequential(nn.Linear(1, 6), nn.ReLU(), nn.Linear(6, heads))

    def bias(self) -> Tensor:
        if self.way == "columns":
            return self.table[:, self.at]
        table = self.mlp(self.distances) if self.way == "made" else self.table
        table = table.view(-1, self.heads)[self.at.view(-1)]
        return table.view(4, 4, -1).permute(2, 0, 1).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.way == "fused":
            mixed = F.scaled_dot_product_attention(q * self.gains, k, v, self.bias().unsqueeze(0))
        else:
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
            scores = scores * torch.clamp(self.scale, max=4.0).exp() + self.bias().unsqueeze(0)
            mixed = scores.softmax(-1) @ (v * self.gains)
        return self.head((x + self.o(mixed.transpose(1, 2).reshape(b, n, c))).mean(1))


def read(way: str) -> TracedModel:
    torch.manual_seed(0)
    return trace_network(scrambled(Biased(way)), SHAPE)


@pytest.mark.parametrize("way", ["rows", "columns", "fused", "made"])
@pytest.mark.parametrize("seed", [0, 1])
def test_tables_of_biases_lose_what_the_heads_do(way: str, seed: int) -> None:
    traced = read(way)
    assert traced.network.unprunable == ()
    found = [(group.channels, group.width) for group in traced.network.groups]
    assert found == [(16, 1), (4, 4), (4, 1), *[(6, 1)] * (way == "made")]
    wrong, effect = gap(traced, SHAPE, some(traced, seed))
    assert wrong < 1e-12 < 1e-3 < effect
