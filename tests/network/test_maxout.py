"""Maxout units: what goes is whole units, and a piece of each."""

from __future__ import annotations

import pytest
import torch
from maxouts import (
    BelowTheLargest,
    FeaturesBelow,
    Halves,
    KeptDimension,
    KeptFeatures,
    Maxout,
    MaxoutMaps,
    ReadTwice,
)

from automl.network import (
    PieceOrders,
    maxima_of,
    maxout_units,
    smaller,
    trace_network,
    with_pieces_in_order,
)


@pytest.mark.parametrize("layout", ["units", "pieces", "unflattened"])
def test_units_and_pieces_are_two_choices_whichever_comes_first(layout: str) -> None:
    network = trace_network(Maxout(layout=layout), (1, 8)).network
    found = {group.name: (group.channels, group.units) for group in network.groups}
    assert found == {"one": (6, 0), "one#2": (4, 6), "two": (6, 0), "two#2": (4, 6)}
    first = network.shapes({"one": 5, "one#2": 2})
    assert [(each.op, each.in_channels, each.out_channels) for each in first[:3]] == [
        ("linear", 8, 10),
        ("reduce", 10, 5),
        ("linear", 5, 24),
    ]


@pytest.mark.parametrize("first", [True, False])
def test_maps_have_them_too_with_a_norm_before_the_maximum(first: bool) -> None:
    network = trace_network(MaxoutMaps(units_first=first), (1, 3, 8, 8)).network
    found = {group.name: (group.channels, group.units) for group in network.groups}
    assert found == {"one": (6, 0), "one#2": (4, 6), "two": (6, 0), "two#2": (4, 6)}
    assert not network.unprunable


@pytest.mark.parametrize("layout", ["units", "pieces"])
def test_what_is_cut_computes_the_largest_of_what_stays(layout: str) -> None:
    model = Maxout(layout=layout)
    traced = trace_network(model, (1, 8))
    kept = {"one": torch.tensor([0, 2, 5]), "one#2": torch.tensor([1, 3])}
    small = smaller(traced.model, traced.network.groups, kept)
    inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    units = model.laid_out(model.one(inputs))[:, kept["one"]][:, :, kept["one#2"]].amax(2)
    second = torch.nn.functional.linear(units, model.two.weight[:, kept["one"]], model.two.bias)
    expected = model.three(model.laid_out(second).amax(2))
    torch.testing.assert_close(small(inputs), expected)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("taken", ["squeeze", "flatten", "view", "select"])
def test_a_maximum_that_keeps_its_dimension_is_cut_as_others_are(taken: str, first: bool) -> None:
    model = KeptDimension(taken, units_first=first).eval()
    traced = trace_network(model, (1, 3, 8, 8))
    found = {group.name: (group.channels, group.units) for group in traced.network.groups}
    assert found == {"one": (6, 0), "one#2": (4, 6), "two": (6, 0), "two#2": (4, 6)}
    kept = {"one": torch.tensor([0, 2, 5]), "one#2": torch.tensor([1, 3])}
    small = smaller(traced.model, traced.network.groups, kept)
    inputs = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    written = model.norm(model.one(inputs))
    pieces = written.unflatten(1, (6, 4) if first else (4, 6))
    pieces = pieces if first else pieces.transpose(1, 2)
    units = pieces[:, kept["one"]][:, :, kept["one#2"]].amax(2)
    weight, bias = model.two.weight[:, kept["one"]], model.two.bias
    second = torch.nn.functional.conv2d(units, weight, bias, padding=1)
    expected = model.three(model.largest(second).mean((2, 3)))
    torch.testing.assert_close(small(inputs), expected)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("taken", ["squeeze", "flatten", "view", "select"])
def test_so_is_one_of_features(taken: str, first: bool) -> None:
    model = KeptFeatures(taken, units_first=first).eval()
    traced = trace_network(model, (1, 8))
    found = {group.name: (group.channels, group.units) for group in traced.network.groups}
    assert found == {"one": (6, 0), "one#2": (4, 6), "two": (6, 0), "two#2": (4, 6)}
    kept = {"one": torch.tensor([0, 2, 5]), "one#2": torch.tensor([1, 3])}
    small = smaller(traced.model, traced.network.groups, kept)
    inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    units = model.laid_out(model.one(inputs))[:, kept["one"]][:, :, kept["one#2"]].amax(2)
    second = torch.nn.functional.linear(units, model.two.weight[:, kept["one"]], model.two.bias)
    torch.testing.assert_close(small(inputs), model.three(model.laid_out(second).amax(2)))


def test_features_that_are_read_again_less_the_largest_of_them_stay() -> None:
    network = trace_network(FeaturesBelow().eval(), (1, 8)).network
    assert not [group for group in network.groups if group.units]


def test_pieces_that_are_read_again_less_the_largest_of_them_stay() -> None:
    network = trace_network(BelowTheLargest().eval(), (1, 3, 8, 8)).network
    assert not [group for group in network.groups if group.units]


def test_the_larger_of_two_halves_loses_the_same_channel_of_both() -> None:
    network = trace_network(Halves(), (1, 3, 8, 8)).network
    assert [(group.name, group.channels, group.units) for group in network.groups] == [
        ("one", 12, 0),
        ("two", 12, 0),
    ]
    assert network.groups[0].producers[0].positions[0] == (0, 12)


def test_pieces_that_weights_read_too_stay() -> None:
    network = trace_network(ReadTwice(), (1, 8)).network
    assert not [group for group in network.groups if group.units]


@pytest.mark.parametrize("layout", ["units", "pieces"])
def test_pieces_in_another_order_compute_the_same(layout: str) -> None:
    model = Maxout(layout=layout)
    traced = trace_network(model, (1, 8))
    group = traced.network.groups[1]
    (maximum,) = maxima_of(traced.trace, group)
    generator = torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(4, generator=generator) for _ in range(6)])
    orders = {group.name: PieceOrders(maxout_units(traced.trace, maximum), order)}
    inputs = torch.randn(64, 8, generator=generator)
    found = with_pieces_in_order(traced, orders, inputs)
    torch.testing.assert_close(found.model(inputs), model(inputs))
    rows = model.laid_out(model.one.bias.detach().unsqueeze(0))[0]
    moved = model.laid_out(found.model.one.bias.detach().unsqueeze(0))[0]  # type: ignore[union-attr, operator]
    torch.testing.assert_close(moved, rows.gather(1, order))


def test_nothing_to_order_leaves_the_network_itself() -> None:
    traced = trace_network(Maxout(), (1, 8))
    assert with_pieces_in_order(traced, {}, torch.randn(2, 8)) is traced
