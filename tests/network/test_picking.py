"""What an index takes out of a value, and constants that lie along heads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn
from torch.nn import functional as F

from automl.export.float_onnx import float_onnx
from automl.export.session import Session
from automl.network.picking import picked
from automl.network.surgery import smaller
from automl.network.traced_model import TracedModel, trace_network
from automl.network.union_find import UnionFind

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


def test_choices_among_channels_are_followed_where_they_are_constants() -> None:
    labels, chosen = UnionFind().fresh(4).view(1, 4), torch.tensor([2, 0])
    assert picked("index_select", labels, (None, 1, chosen)) is None
    for op, rest in (
        ("index_select", (1, chosen)),
        ("gather", (1, chosen.expand(3, 2))),
        ("index", ([None, chosen],)),
        ("index", ([None, torch.tensor([True, False, True, False])],)),
    ):
        found = picked(op, labels.expand(3, 4), (None, *rest), fixed=True)
        assert found is not None
        assert sorted(found[0].tolist()) == [1, 3]
    crossed = (None, [torch.tensor([0, 2]), torch.tensor([1, 2])])
    assert picked("index", torch.arange(12).view(3, 4), crossed, fixed=True) is None
    rows = torch.tensor([[0, 1], [1, 0], [2, 3]])
    assert picked("gather", labels.expand(3, 4), (None, 1, rows), fixed=True) is None
    assert picked("sort", labels, (None, 1)) is None


ORDER = [3, 1, 8, 11, 0, 2, 5, 4, 7, 6, 10, 9]
SOME = [3, 1, 8, 3, 11]
#: How channels are chosen, and how many of each kind there are: those chosen once, and twice.
CHOICES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], list[int], list[int]]] = {
    "brackets": (lambda x, at: x[..., at], ORDER, [12]),
    "brackets, places": (lambda x, at: x[:, :, at], ORDER, [12]),
    "a list": (lambda x, _: x[:, :, ORDER], ORDER, [12]),
    "some": (lambda x, at: x.index_select(2, at), SOME, [3]),
    "by name": (lambda x, at: torch.index_select(x, dim=-1, index=at), ORDER, [12]),
    "gather": (lambda x, at: x.gather(2, at.expand(*x.shape[:2], -1)), ORDER, [12]),
    "along": (lambda x, at: torch.take_along_dim(x, at.view(1, 1, -1), dim=2), ORDER, [12]),
    "mask": (lambda x, _: x[..., torch.arange(12) % 3 != 0], ORDER[:8], [8]),
    "from behind": (lambda x, at: x[..., at - 12], ORDER, [12]),
}


class Chosen(nn.Module):
    """Channels in another order, or some of them."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.choose, at, _ = CHOICES[way]
        self.at: Tensor
        self.register_buffer("at", torch.tensor(at))
        self.up, self.down = nn.Linear(8, 12), nn.Linear(len(at), 4)

    def forward(self, x: Tensor) -> Tensor:
        down: Tensor = self.down(self.choose(F.relu(self.up(x)), self.at))
        return down


@pytest.mark.parametrize("way", CHOICES)
def test_channels_that_a_constant_index_takes_are_cut(way: str) -> None:
    torch.manual_seed(0)
    traced = trace_network(scrambled(Chosen(way)), SHAPE)
    network, kept = traced.network, some(traced)
    assert [group.channels for group in network.groups] == CHOICES[way][2]
    assert not network.unprunable
    wrong, effect = gap(traced, SHAPE, kept)
    assert wrong < 1e-12 < 1e-3 < effect
    small = smaller(traced.model, network.groups, kept)
    layers = {layer.name: layer for layer in network.shapes({n: len(k) for n, k in kept.items()})}
    assert layers["down"].in_channels == small.down.in_features  # type: ignore[union-attr]
    x = torch.randn(SHAPE)
    exported = torch.export.export(small, (x,), strict=False).module()
    torch.testing.assert_close(exported(x), small(x))
    if way != "along":  # which torch does not export to ONNX
        (found,) = Session(float_onnx(small, SHAPE)).run(x.numpy())
        torch.testing.assert_close(torch.from_numpy(found), small(x), rtol=1e-5, atol=1e-5)


def test_what_is_cut_is_cut_again() -> None:
    torch.manual_seed(0)
    traced = trace_network(scrambled(Chosen("brackets")), SHAPE)
    groups = traced.network.groups
    once = smaller(traced.model, groups, {"up": torch.tensor([0, 1, 3, 7, 9, 11])})
    again = trace_network(once, SHAPE)
    wrong, effect = gap(again, SHAPE, some(again))
    assert wrong < 1e-12 < 1e-3 < effect
    assert len(again.network.groups) == 1


class Shuffled(nn.Module):
    """Constants in another order beside channels, and grouped layers with a shuffle between."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(8, 16, 1), nn.Conv1d(16, 16, 1, groups=4)
        self.head, self.gains = nn.Conv1d(16, 4, 1), nn.Parameter(torch.rand(16) + 0.5)
        self.order = torch.arange(16).view(4, 4).T.flatten()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(x.transpose(1, 2)))
        x = F.relu(self.two(x[:, self.order]))
        head: Tensor = self.head(x * self.gains[self.order].view(-1, 1))
        return head


def test_shuffles_written_as_an_index_and_constants_taken_by_one() -> None:
    torch.manual_seed(0)
    traced = trace_network(scrambled(Shuffled()), SHAPE)
    assert not traced.network.unprunable
    wrong, effect = gap(traced, SHAPE, some(traced))
    assert wrong < 1e-12 < 1e-3 < effect


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
        if "made" in way:
            self.mlp = nn.Sequential(nn.Linear(1, 6), nn.ReLU(), nn.Linear(6, heads))

    def bias(self) -> Tensor:
        if self.way == "columns":
            return self.table[:, self.at]
        table = self.mlp(self.distances) if "made" in self.way else self.table
        table = table.view(-1, self.heads)[self.at.view(-1)]
        return table.view(4, 4, -1).permute(2, 0, 1).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if "fused" in self.way:
            mixed = F.scaled_dot_product_attention(q * self.gains, k, v, self.bias().unsqueeze(0))
        else:
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
            scores = scores * torch.clamp(self.scale, max=4.0).exp() + self.bias().unsqueeze(0)
            mixed = scores.softmax(-1) @ (v * self.gains)
        return self.head((x + self.o(mixed.transpose(1, 2).reshape(b, n, c))).mean(1))


def read(way: str) -> TracedModel:
    torch.manual_seed(0)
    return trace_network(scrambled(Biased(way)), SHAPE)


@pytest.mark.parametrize("way", ["rows", "columns", "fused", "made", "made, fused"])
@pytest.mark.parametrize("seed", [0, 1])
def test_tables_of_biases_lose_what_the_heads_do(way: str, seed: int) -> None:
    traced = read(way)
    assert traced.network.unprunable == ()
    found = [(group.channels, group.width) for group in traced.network.groups]
    assert found == [(16, 1), (4, 4), (4, 1), (4, 1), *[(6, 1)] * ("made" in way)]
    wrong, effect = gap(traced, SHAPE, some(traced, seed))
    assert wrong < 1e-12 < 1e-3 < effect
