"""Labels of channels: how they become one, how they move with data, what keeps them in place."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from automl.network.heads import Heads
from automl.network.labels import (
    ATTENTION,
    FUNCTIONAL,
    NORMALISED,
    POSITIONS,
    Rules,
    compact,
    constant,
    names,
    vector,
)
from automl.network.surgery import mask, smaller
from automl.network.traced_model import trace_network
from automl.network.union_find import NONE, UnionFind, core

ATEN: Any = torch.ops.aten


def maps(union: UnionFind, channels: int, size: int = 4) -> Tensor:
    """Fresh labels of maps (1, channels, size, size)."""
    return union.fresh(channels).view(1, -1, 1, 1).expand(1, channels, size, size)


def applied(union: UnionFind, op: Any, *args: Any) -> Any:
    """Labels of what an ATen operator gives on values of the labels' shapes."""
    values = [torch.zeros(each.shape) if isinstance(each, Tensor) else each for each in args]
    name = op.overloadpacket.__name__
    heads = Heads(union)
    found = Rules(union, heads).apply(name, op, args, {}, op(*values))
    heads.settle()
    return found


def test_labels_that_are_joined_stand_for_each_other_ever_after() -> None:
    union = UnionFind()
    a, b, c = union.fresh(3), union.fresh(3), union.fresh(3)
    union.join(a, b, "why")
    union.join(c, b, "why")
    assert union.roots(a).tolist() == union.roots(b).tolist() == union.roots(c).tolist()
    assert len(set(union.roots(a).tolist())) == 3


def test_a_reason_goes_to_the_whole_class_and_the_first_one_stays() -> None:
    union = UnionFind()
    a, b = union.fresh(2), union.fresh(2)
    union.freeze(b[:1], "first")
    union.join(a, b, "unused")
    union.freeze(a, "second")
    assert [union.unprunable(root) for root in union.roots(a).tolist()] == ["first", "second"]


def test_what_joins_no_channel_is_unprunable() -> None:
    union = UnionFind()
    a = union.fresh(3)
    union.join(a, torch.tensor([NONE, 7, NONE]).clamp_max(int(a[1])), "fixed")
    found = [union.unprunable(root) for root in union.roots(a).tolist()]
    assert found == ["fixed", None, "fixed"]


def test_compact_labels_are_stored_once() -> None:
    labels = compact(torch.arange(1, 4).view(1, 3, 1, 1).expand(1, 3, 8, 8).contiguous())
    assert labels.shape == (1, 3, 8, 8)
    assert core(labels).shape == (1, 3, 1, 1)
    assert vector(labels, 1).tolist() == [1, 2, 3]  # type: ignore[union-attr]
    assert vector(constant((2, 5)), 1).tolist() == [NONE] * 5  # type: ignore[union-attr]
    assert vector(torch.arange(6).view(2, 3), 1) is None  # they change along both


def test_names_are_words() -> None:
    assert names("add mul  add") == {"add", "mul"}


def test_moved_data_moves_its_labels() -> None:
    union = UnionFind()
    a, b = maps(union, 2), maps(union, 3)
    both = applied(union, ATEN.cat.default, [a, b], 1)
    assert vector(both, 1).tolist() == [*core(a).flatten(), *core(b).flatten()]  # type: ignore[union-attr]
    flipped = applied(union, ATEN.flip.default, b, [1])
    assert vector(flipped, 1).tolist() == core(b).flatten().tolist()[::-1]  # type: ignore[union-attr]


def test_padding_adds_channels_without_a_label() -> None:
    union = UnionFind()
    padded = applied(union, ATEN.constant_pad_nd.default, maps(union, 2), [1, 1, 0, 0, 1, 2])
    assert padded.shape == (1, 5, 4, 6)
    assert vector(padded, 1).tolist() == [NONE, 1, 2, NONE, NONE]  # type: ignore[union-attr]


def test_arithmetic_makes_the_channels_of_its_operands_one() -> None:
    union = UnionFind()
    a, b = maps(union, 3), maps(union, 3)
    applied(union, ATEN.add.Tensor, a, b)
    assert union.roots(core(a)).tolist() == union.roots(core(b)).tolist()


def test_one_value_for_all_channels_couples_nothing_but_stays_itself() -> None:
    union = UnionFind()
    wide, single = maps(union, 3), maps(union, 1)
    applied(union, ATEN.mul.Tensor, wide, single)
    assert all(union.unprunable(root) is None for root in union.roots(core(wide)).tolist())


def test_runs_that_a_view_lays_side_by_side_lose_the_same_channels() -> None:
    union = UnionFind()
    a = maps(union, 6)
    applied(union, ATEN.view.default, a, [1, 2, 3, 4, 4])
    roots = union.roots(core(a)).tolist()
    assert roots[:3] == roots[3:]
    assert len(set(roots)) == 3


@pytest.mark.parametrize("sizes", [2, 3, [2, 2]], ids=["equal", "uneven", "named"])
def test_parts_go_apart(sizes: int | list[int]) -> None:
    union = UnionFind()
    a = maps(union, 4)
    op = ATEN.split.Tensor if isinstance(sizes, int) else ATEN.split_with_sizes.default
    applied(union, op, a, sizes, 1)
    roots = union.roots(core(a)).tolist()
    assert len(set(roots)) == 4
    assert {union.unprunable(root) for root in roots} == {None}


def test_reductions_keep_the_channels_that_they_do_not_run_over() -> None:
    union = UnionFind()
    a = maps(union, 3)
    pooled = applied(union, ATEN.mean.dim, a, [2, 3])
    assert pooled.shape == (1, 3)
    assert vector(pooled, 1).tolist() == core(a).flatten().tolist()  # type: ignore[union-attr]
    assert all(union.unprunable(root) is None for root in union.roots(core(a)).tolist())
    applied(union, ATEN.mean.dim, a, [1])
    assert {union.unprunable(root) for root in union.roots(core(a)).tolist()} == {
        "its channels are mixed by mean"
    }


def tokens(union: UnionFind, features: int) -> Tensor:
    return union.fresh(features).view(1, 1, -1).expand(1, 5, features)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        (lambda u, x: applied(u, ATEN.native_layer_norm.default, x, [4], None, None, 1e-5),
         NORMALISED),
        (lambda u, x: applied(u, ATEN._softmax.default, x, -1, False),
         "its channels are mixed by softmax"),
        (lambda u, x: applied(u, ATEN.bmm.default, x, tokens(u, 5).transpose(1, 2)[:, :4]),
         ATTENTION),
        (lambda u, x: applied(u, ATEN.bmm.default, x, constant((1, 4, 3))), FUNCTIONAL),
        (lambda u, x: applied(u, ATEN.cumsum.default, x, 2), "its channels are mixed by cumsum"),
        (lambda u, x: applied(u, ATEN.sort.default, x, 2),
         "its channels go into sort, which cannot be followed"),
    ],
    ids=["norm", "softmax", "attention", "functional", "cumsum", "unknown"],
)  # fmt: skip
def test_what_mixes_channels_keeps_them_and_says_why(op: Any, reason: str) -> None:
    union = UnionFind()
    x = tokens(union, 4)
    op(union, x)
    assert {union.unprunable(root) for root in union.roots(core(x)).tolist()} == {reason}


def test_pooling_keeps_labels_and_refuses_those_that_change_with_the_place() -> None:
    union = UnionFind()
    a = maps(union, 3)
    pooled = applied(union, ATEN.avg_pool2d.default, a, [2, 2])
    assert pooled.shape == (1, 3, 2, 2)
    assert vector(pooled, 1).tolist() == core(a).flatten().tolist()  # type: ignore[union-attr]
    mixed = union.fresh(12).view(1, 3, 4, 1).expand(1, 3, 4, 4)
    applied(union, ATEN.avg_pool2d.default, mixed, [2, 2])
    assert union.unprunable(int(union.roots(mixed)[0])) == POSITIONS


class Parted(nn.Module):
    """Takes parts of its channels, or stacks branches, in the way of the test."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.left = nn.Conv2d(3, 12, 1)
        self.right = nn.Identity() if way in WIDTHS else nn.Conv2d(3, 12, 3, padding=1)
        self.weigh = nn.Conv2d(12, 24, 1) if way == "weighed" else nn.Identity()
        self.heads = nn.ModuleList(nn.Conv2d(width, 4, 1) for width in WIDTHS.get(way, (12,)))

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.left(x).relu(), self.right(x).relu()
        if self.way == "every second":
            parts = (y[:, ::2],)
        elif self.way == "every third, each":
            parts = (y[:, ::3], y[:, 1::3], y[:, 2::3])
        elif self.way == "the first, the rest":
            parts = (y[:, :5], y[:, 5:])
        elif self.way == "weighed":
            both = torch.stack([y, z], 1)
            weights = self.weigh(both.sum(1).mean((2, 3), keepdim=True))
            parts = ((both * weights.view(len(x), 2, -1, 1, 1).softmax(1)).sum(1),)
        else:
            parts = (getattr(torch.stack([y, z]), self.way)(0),)
        found = [head(part) for head, part in zip(self.heads, parts, strict=True)]
        return torch.stack(found).sum(0)


WIDTHS = {"every second": (6,), "every third, each": (4, 4, 4), "the first, the rest": (5, 7)}


@pytest.mark.parametrize(
    ("way", "groups"),
    [
        ("every second", {"left": 6}),
        ("every third, each", {"left": 4}),
        ("the first, the rest", {"left": 5, "left#2": 7}),
        ("weighed", {"left": 12}),
        ("sum", {"left": 12}),
        ("mean", {"left": 12}),
        ("amax", {"left": 12}),
    ],
)
def test_parts_and_branches_lose_what_leaves_the_rest_as_it_was(
    way: str, groups: dict[str, int]
) -> None:
    torch.manual_seed(0)
    shape = (1, 3, 6, 6)
    traced = trace_network(Parted(way).eval(), shape, resolutions=())
    network, double = traced.network, copy.deepcopy(traced.model).double()
    assert {group.name: group.channels for group in network.groups} == groups
    x = torch.randn(2, *shape[1:]).double()
    kept = {name: torch.arange(1, count, 2) for name, count in groups.items()}
    expected = mask(double, network.groups, kept)(x)
    small = smaller(double, network.groups, kept)
    torch.testing.assert_close(small(x), expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(expected, double(x))
