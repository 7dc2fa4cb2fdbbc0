"""Stretches that a module names: told of the dense network, and what is left of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn

from automl.network.stretches import left_of_slice, sliced_dims, stretches_of
from automl.network.traced_model import trace_network

MAPS = (1, 3, 8, 8)


class Parts(nn.Module):
    """Takes its channels apart at places that it names; each part has a head of its own."""

    def __init__(self, apart: Callable[[Tensor], Any], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.apart, self.stem = apart, nn.Conv2d(3, 12, 3)
        self.heads = nn.ModuleList(nn.Conv2d(width, 4, 1) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.apart(self.stem(x).relu())
        found = [head(part) for head, part in zip(self.heads, parts, strict=True)]
        return torch.stack(found).sum(0)


WAYS: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...]]] = {
    "sizes": (lambda x: x.split([2, 3, 7], 1), (2, 3, 7)),
    "sizes by name": (
        lambda x: torch.split(x, split_size_or_sections=(7, 5), dim=-3),  # type: ignore[no-untyped-call]
        (7, 5),
    ),
    "one size, a rest": (lambda x: x.split(5, dim=1), (5, 5, 2)),
    "narrow": (lambda x: (x.narrow(1, 0, 4), torch.narrow(x, 1, 4, 8)), (4, 8)),
    "slices": (lambda x: (x[:, :3], x[:, 3:10], x[:, 10:]), (3, 7, 2)),
    "from the end": (lambda x: (x[:, :-4], x[:, -4:-1], x[:, -1:]), (8, 3, 1)),
    "both ends": (lambda x: (x[..., 2:-3, :, :], x[:, 0:2], x[:, -3:]), (7, 2, 3)),
    "half of what is asked for": (
        lambda x: (x[:, : x.shape[1] // 3], x[:, x.shape[1] // 3 :]),
        (4, 8),
    ),
    "overlapping": (lambda x: (x[:, :8], x[:, 4:]), (8, 8)),
    "equal, named": (lambda x: x.split((6, 6), 1), (6, 6)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_parts_lose_channels_apart(way: str, share: float) -> None:
    torch.manual_seed(0)
    traced = trace_network(scrambled(Parts(*WAYS[way])), MAPS, resolutions=())
    network = traced.network
    assert network.unprunable == ()
    wrong, effect = gap(traced, MAPS, some(traced, share=share))
    assert wrong < 1e-12 < 1e-3 < effect
    widths = [group.channels for group in network.groups]
    ties = {"overlapping": 12, "from the end": 11}
    assert sum(widths) == ties.get(way, 12)


class InHeads(nn.Module):
    """Queries and keys narrower than values, taken apart within each head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qkv, self.o = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        inner = self.qkv(self.stem(x)).view(b, 2, 16, h * w)
        q, k, v = inner.split([4, 4, 8], dim=2)
        weights = (q.transpose(-2, -1) @ k * 4**-0.5).softmax(-1)
        return self.o((v @ weights.transpose(-2, -1)).view(b, 16, h, w))


class Remembers(nn.Module):
    """Takes its factors out of a table once, and has them ready after."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.at = nn.Parameter(torch.rand(1, 4)), torch.tensor([2, 0])
        self.stem, self.head = nn.Conv2d(3, 12, 3), nn.Conv2d(10, 4, 1)
        self.ready: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.ready is None:
            self.ready = self.table[:, self.at]
        x = self.stem(x)[:, 2:].relu()
        head: Tensor = self.head(x * self.ready.sum())
        return head


class Chosen(nn.Module):
    """Chooses among forwards when it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 12, 3), nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Conv2d(12, 4, 1)
        self.forward = self.forward_parts  # type: ignore[method-assign]

    def forward_parts(self, x: Tensor) -> Tensor:
        some, rest = self.stem(x).relu().split([3, 9], 1)
        head: Tensor = self.head(torch.cat([self.mix(some), rest * rest.mean(1, keepdim=True)], 1))
        return head


def test_forwards_of_a_module_alone_are_kept() -> None:
    torch.manual_seed(0)
    traced = trace_network(Chosen().eval(), MAPS, resolutions=())
    assert [group.channels for group in traced.network.groups] == [3, 9, 3]
    wrong, effect = gap(traced, MAPS, some(traced))
    assert wrong < 1e-12 < 1e-3 < effect


def test_an_index_that_slices_nothing_is_not_counted() -> None:
    torch.manual_seed(0)
    traced = trace_network(Remembers().eval(), MAPS, resolutions=())
    assert [group.channels for group in traced.network.groups] == [10]
    wrong, effect = gap(traced, MAPS, some(traced))
    assert wrong < 1e-12 < 1e-3 < effect


def test_queries_and_values_of_one_layer_have_widths_of_their_own() -> None:
    torch.manual_seed(0)
    traced = trace_network(scrambled(InHeads()), MAPS, resolutions=())
    assert traced.network.unprunable == ()
    found = [(group.channels, group.width) for group in traced.network.groups]
    assert found == [(16, 1), (2, 16), (4, 1), (8, 1)]
    for seed in range(3):
        wrong, effect = gap(traced, MAPS, some(traced, seed))
        assert wrong < 1e-12 < 1e-3 < effect


@pytest.mark.parametrize(
    ("index", "rank", "dims"),
    [
        (slice(2, 5), 3, {0: 0}),
        ((0, ..., slice(None, 4)), 4, {3: 2}),
        ((None, slice(1, None), 3, slice(-2, None)), 4, {0: 1, 2: 3}),
        ((slice(None), slice(0, 8, 2)), 2, {}),
        ((slice(None), slice(-4, 8)), 2, {}),
        ((torch.tensor([0, 1]), slice(2)), 2, {}),
        (3, 2, {}),
    ],
)
def test_which_dimensions_an_index_slices(index: Any, rank: int, dims: dict[int, int]) -> None:
    assert sliced_dims(index, rank) == dims


@pytest.mark.parametrize(
    ("named", "left", "expected"),
    [
        (slice(None, 4), (0, 3, 2), slice(0, 3)),
        (slice(2, 6), (1, 3, 2), slice(1, 4)),
        (slice(2, None), (1, 5, 0), slice(1, None)),
        (slice(-7, None), (1, 5, 0), slice(-5, None)),
        (slice(-7, -3), (1, 3, 2), slice(-5, -2)),
        (slice(2, -3), (1, 3, 2), slice(1, -2)),
        (slice(None, -3), (0, 5, 2), slice(0, -2)),
    ],
)
def test_slices_of_what_is_left(named: slice, left: tuple[int, int, int], expected: slice) -> None:
    """Of nine channels: ahead of what is taken, in it, and behind it."""
    start, stop, _ = named.indices(9)
    dense = (start, stop - start, 9 - stop)
    extents = {at: both for at, both in enumerate(zip(dense, left, strict=True)) if both[0]}
    assert left_of_slice(extents, named) == expected


def test_what_lies_around_slices_are_stretches_too() -> None:
    x = torch.zeros(2, 9)
    assert stretches_of("taken", (x, (slice(None), slice(2, -3))), {}, x) == (
        (3, 1, 0, 2),
        (4, 1, 2, 6),
        (5, 1, 6, 9),
    )
    assert stretches_of("narrow", (x, 1), {"start": 4, "length": 2}, x) == (
        (0, 1, 0, 4),
        (1, 1, 4, 6),
    )
