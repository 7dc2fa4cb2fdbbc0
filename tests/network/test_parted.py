"""PartedValue that a view lays out and that are taken apart: each loses channels of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn
from torch.nn import functional as F

from automl.export.float_onnx import float_onnx
from automl.export.session import Session
from automl.network.parted import PartedValue, view_of
from automl.network.surgery import smaller
from automl.network.traced_model import TracedModel, trace_network

SHAPE = (1, 5, 8)
HEADS, SIZE = 4, 8


def permuted(x: Tensor) -> Sequence[Tensor]:
    b, n, c = x.shape
    return x.reshape(b, n, 3, HEADS, c // 3 // HEADS).permute(2, 0, 3, 1, 4).unbind(0)


def indexed(x: Tensor) -> Sequence[Tensor]:
    b, n, _ = x.shape
    y = x.view(b, n, 3, HEADS, -1).permute(2, 0, 3, 1, 4).contiguous()
    return y[0], y[1], y[2]


def iterated(x: Tensor) -> Sequence[Tensor]:
    q, k, v = torch.permute(x.view(*x.shape[:2], 3, HEADS, SIZE), (2, 0, 3, 1, 4))
    return q, k, v


def in_the_middle(x: Tensor) -> Sequence[Tensor]:
    y = x.unflatten(-1, (3, HEADS, SIZE))
    return [y[:, :, at].transpose(1, 2) for at in range(3)]


def by_an_ellipsis(x: Tensor) -> Sequence[Tensor]:
    y = x.unflatten(-1, (3, HEADS, SIZE)).movedim(2, -1)
    return [y[..., at].transpose(1, 2) for at in range(3)]


def in_each_head(x: Tensor) -> Sequence[Tensor]:
    y = x.view(*x.shape[:2], HEADS, 3, SIZE).transpose(1, 2)
    return torch.unbind(y, dim=3)


def by_chunks(x: Tensor) -> Sequence[Tensor]:
    y = x.view(*x.shape[:2], HEADS, 3 * SIZE).transpose(1, 2)
    return y.chunk(3, dim=-1)


def by_even_split(x: Tensor) -> Sequence[Tensor]:
    return [each.unflatten(-1, (HEADS, SIZE)).transpose(1, 2) for each in x.tensor_split(3, -1)]


WAYS: list[Callable[[Tensor], Sequence[Tensor]]] = [
    *(permuted, indexed, iterated, in_the_middle, by_an_ellipsis),
    *(in_each_head, by_chunks, by_even_split),
]


class Fused(nn.Module):
    """Queries, keys and values of one layer, taken apart one way or another."""

    def __init__(self, apart: Callable[[Tensor], Sequence[Tensor]]) -> None:
        super().__init__()
        width = HEADS * SIZE
        self.embed, self.qkv = nn.Linear(8, width), nn.Linear(width, 3 * width)
        self.o, self.head, self.apart = nn.Linear(width, width), nn.Linear(width, 4), apart

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = self.apart(self.qkv(x))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        head: Tensor = self.head((x + self.o(mixed)).mean(1))
        return head


def read(apart: Callable[[Tensor], Sequence[Tensor]]) -> TracedModel:
    torch.manual_seed(0)
    return trace_network(scrambled(Fused(apart)), SHAPE)


@pytest.mark.parametrize("apart", WAYS)
def test_values_have_another_width_than_queries_and_keys(
    apart: Callable[[Tensor], Sequence[Tensor]],
) -> None:
    traced = read(apart)
    network = traced.network
    assert [group.channels for group in network.groups] == [32, HEADS, SIZE, SIZE]
    assert not network.unprunable
    for seed, share in enumerate((0.5, 0.25, 0.8)):
        wrong, effect = gap(traced, SHAPE, some(traced, seed, share))
        assert wrong < 1e-12 < 1e-3 < effect
    for group, at in some(traced).items():
        wrong, effect = gap(traced, SHAPE, {group: at})
        assert wrong < 1e-12 < 1e-6 < effect, group


class Talking(Fused):
    """Scores are mixed over the heads: those of queries are others than those of values."""

    def __init__(self, apart: Callable[[Tensor], Sequence[Tensor]]) -> None:
        super().__init__(apart)
        self.before, self.after = nn.Linear(HEADS, HEADS), nn.Linear(HEADS, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = self.apart(self.qkv(x))
        scores = self.before((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        weights = self.after(scores.softmax(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        head: Tensor = self.head((x + self.o((weights @ v).transpose(1, 2).flatten(2))).mean(1))
        return head


def test_heads_of_values_may_be_others_than_those_of_queries() -> None:
    torch.manual_seed(0)
    traced = trace_network(scrambled(Talking(permuted)), SHAPE)
    assert [group.channels for group in traced.network.groups] == [32, 4, 8, 4, 8, 4]
    for seed in range(3):
        wrong, effect = gap(traced, SHAPE, some(traced, seed, 0.6))
        assert wrong < 1e-12 < 1e-3 < effect


def test_each_part_is_priced_by_its_own_width() -> None:
    network = read(permuted).network
    (_, heads, pairs, values) = (group.name for group in network.groups)
    layers = {layer.name: layer for layer in network.shapes({heads: 3, pairs: 2, values: 5})}
    assert layers["qkv"].out_channels == 3 * (2 + 2 + 5)
    assert layers["o"].in_channels == 3 * 5


@pytest.mark.parametrize(
    "used",
    [
        lambda y: (y.unbind(2), y.sum(2)),  # all parts at once too
        lambda y: ((y * 2).unbind(2), None),  # before they are taken apart
        lambda y: (y.unbind(2), y.shape[-1]),  # and asked how wide they are
    ],
)
def test_parts_that_are_used_together_lose_the_same(used: Callable[[Tensor], object]) -> None:
    class Together(Fused):
        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            parts, _ = used(self.qkv(x).view(*x.shape[:2], 3, HEADS, SIZE))  # type: ignore[misc]
            q, k, v = (part.transpose(1, 2) for part in parts)
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            head: Tensor = self.head((x + self.o(mixed)).mean(1))
            return head

    torch.manual_seed(0)
    traced = trace_network(scrambled(Together(permuted)), SHAPE)
    assert [group.channels for group in traced.network.groups] == [32, HEADS, SIZE]
    wrong, effect = gap(traced, SHAPE, some(traced))
    assert wrong < 1e-12 < 1e-3 < effect


def test_a_cut_model_is_exported_with_parts_of_their_own() -> None:
    traced = read(permuted)
    small = smaller(traced.model, traced.network.groups, some(traced, 1, 0.4))
    x = torch.randn(SHAPE)
    exported = torch.export.export(small, (x,), strict=False).module()
    torch.testing.assert_close(exported(x), small(x))
    (found,) = Session(float_onnx(small, SHAPE)).run(x.numpy())
    torch.testing.assert_close(torch.from_numpy(found), small(x), rtol=1e-5, atol=1e-5)


def test_parts_are_moved_as_a_tensor_is() -> None:
    whole = torch.randn(2, 5, 3, 4, 6)
    parts = PartedValue(whole.unbind(2), 2)
    assert len(parts) == 3
    for moved, expected in (
        (parts.permute(2, 0, 3, 1, 4), whole.permute(2, 0, 3, 1, 4)),
        (parts.permute([-3, 0, 1, 3, 4]), whole.permute(2, 0, 1, 3, 4)),
        (parts.transpose(0, 2), whole.transpose(0, 2)),
        (parts.movedim((2, 3), (0, 1)), whole.movedim((2, 3), (0, 1))),
        (torch.movedim(parts, 2, 0), whole.movedim(2, 0)),  # type: ignore[call-overload]
    ):
        for found, part in zip(moved.contiguous(), expected, strict=True):
            assert torch.equal(found, part)
            assert found.is_contiguous()
    assert torch.equal(parts[:, :, 1], whole[:, :, 1])
    assert torch.equal(parts[..., 2, :, :], whole[:, :, 2])


def test_a_view_tells_where_channels_lie() -> None:
    line = torch.arange(1, 25)
    given, labels = line.view(1, 1, 24).expand(1, 7, 24), line.view(1, 1, 3, 2, 4)
    view = view_of(labels.expand(1, 7, 3, 2, 4), given, 2)
    assert view is not None
    assert (view.source, view.first, view.shape, view.count) == (2, 2, (3, 2, 4), 3)
    assert view_of(labels, given, 4) is None  # one channel a part
