"""Attention: whole heads and the widths of heads are found, cut and priced, in every form."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from attention_forms import FORMS, SHAPE, build
from exact import gap, scrambled, share_left, some
from torch import Tensor

from automl.network.heads import Heads
from automl.network.surgery import smaller
from automl.network.traced_model import TracedModel, trace_network
from automl.network.union_find import UnionFind

#: (channels, neighbouring channels that go together) of the embedding, heads, widths of q and k,
#: and of v.
WIDTHS = {"single": [(32, 1), (32, 1), (32, 1)]}


def read(name: str) -> TracedModel:
    return trace_network(scrambled(build(name)), SHAPE)


@pytest.mark.parametrize("name", FORMS)
def test_heads_and_their_widths_are_groups(name: str) -> None:
    network = read(name).network
    found = [(group.channels, group.width) for group in network.groups]
    assert found == WIDTHS.get(name, [(32, 1), (4, 8), (8, 1), (8, 1)])
    assert network.unprunable == ()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FORMS)
def test_without_some_heads_and_widths_it_computes_what_the_masked_network_does(
    name: str, seed: int
) -> None:
    traced = read(name)
    kept = some(traced, seed, share=(0.5, 0.25, 0.8)[seed])
    wrong, effect = gap(traced, SHAPE, kept)
    assert wrong < 1e-12 < 1e-3 < effect


@pytest.mark.parametrize("name", FORMS)
def test_each_group_alone_is_exact(name: str) -> None:
    traced = read(name)
    for group, at in some(traced).items():
        wrong, effect = gap(traced, SHAPE, {group: at})
        assert wrong < 1e-12 < 1e-6 < effect, group


def test_a_head_is_rows_of_queries_keys_and_values_and_columns_of_the_output() -> None:
    traced = read("separate")
    at = torch.tensor([0, 1, 3])
    small = smaller(traced.model, traced.network.groups, {"attention.q": at})
    rows = torch.cat([torch.arange(8) + 8 * head for head in at.tolist()])
    for name in "qkv":
        own, dense = (model.get_submodule(f"attention.{name}") for model in (small, traced.model))
        assert torch.equal(own.weight, dense.weight[rows])
    own, dense = (model.get_submodule("attention.o") for model in (small, traced.model))
    assert torch.equal(own.weight, dense.weight[:, rows])


def test_the_scale_stays_that_of_the_dense_heads() -> None:
    traced = read("scaled")
    groups = {group.name: group for group in traced.network.groups}
    assert len(groups["attention.q#2"].pairs) == 1
    kept = {"attention.q#2": torch.arange(4)}
    small = smaller(traced.model, traced.network.groups, kept)
    x = torch.randn(SHAPE)
    model = small
    q, k, v = (
        model.get_submodule(f"attention.{name}")(model.norm(model.embed(x)))
        .view(1, 5, 4, -1)
        .transpose(1, 2)
        for name in "qkv"
    )
    mixed = (q @ k.transpose(-2, -1) * 8**-0.5).softmax(-1) @ v
    expected = model.attention.o(mixed.transpose(1, 2).flatten(2))
    found = model.attention(model.norm(model.embed(x)))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["separate", "scaled", "fused", "chunked", "torch"])
def test_what_is_left_is_priced(name: str) -> None:
    traced = read(name)
    network = traced.network
    kept = some(traced)
    counts = {group: len(at) for group, at in kept.items()}
    again = trace_network(smaller(traced.model, network.groups, kept), SHAPE).network
    assert sum(layer.macs for layer in network.shapes(counts)) == sum(
        layer.macs for layer in again.layers
    )
    matmuls = [layer for layer in network.shapes(counts) if layer.op == "matmul"]
    assert [(layer.groups, layer.in_channels, layer.out_channels) for layer in matmuls] == [
        (2, 4, 5),
        (2, 5, 4),
    ]
    assert share_left(traced, kept) < 0.27


def test_cut_models_are_copied_and_stored() -> None:
    traced = read("fused")
    small = smaller(traced.model, traced.network.groups, some(traced))
    x = torch.randn(3, *SHAPE[1:])
    expected = small(x)
    assert torch.equal(copy.deepcopy(small)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(small))(x), expected)


@pytest.mark.parametrize("name", ["fused", "chunked", "separate"])
def test_a_cut_model_is_cut_again(name: str) -> None:
    traced = read(name)
    again = trace_network(smaller(traced.model, traced.network.groups, some(traced)), SHAPE)
    found = [(group.channels, group.width) for group in again.network.groups]
    assert found == [(16, 1), (2, 4), (4, 1), (4, 1)]
    wrong, effect = gap(again, SHAPE, some(again))
    assert wrong < 1e-12 < 1e-3 < effect


def grids(union: UnionFind, heads: int, width: int) -> Tensor:
    return union.fresh(heads * width).view(heads, 1, width)


def test_a_product_pairs_widths_and_joins_heads() -> None:
    union = UnionFind()
    heads = Heads(union)
    q, k, v = (grids(union, 2, width) for width in (3, 3, 4))
    scores, lines = heads.product(q.expand(2, 5, 3), k.expand(2, 5, 3).transpose(1, 2))
    mixed, after = heads.product(scores, v.expand(2, 5, 4))
    heads.settle()
    units = [[heads.units(root) for root in union.roots(each)] for each in (q, k, v, mixed[:, :1])]
    assert units[0] == units[1]
    assert units[2] == units[3]
    assert {row for row, _ in units[0]} == {row for row, _ in units[2]}
    assert {column for _, column in units[0]}.isdisjoint(column for _, column in units[2])
    assert [None if line is None else len(line) for line in (lines.heads, lines.inner)] == [2, 3]
    assert after.outer is not None
    assert len(after.outer) == 4


def test_a_view_that_is_in_no_heads_loses_the_same_of_each_run() -> None:
    union = UnionFind()
    heads = Heads(union)
    line = union.fresh(6)
    heads.view(line.view(1, 2, 3))
    heads.settle()
    assert union.roots(line[:3]).tolist() == union.roots(line[3:]).tolist()
