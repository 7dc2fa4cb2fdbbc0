"""The plain values of a network: work, widths, and shapes under a choice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automl.network.layers import Layer, LayerPlan, Width
from handmade import network


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (Layer("c", "conv2d", 8, 16, (3, 3), in_size=(9, 9), out_size=(4, 5)), 8 * 16 * 9 * 20),
        (Layer("g", "conv2d", 8, 16, groups=4, out_size=(2, 2)), 8 * 16 // 4 * 4),
        (Layer("d", "depthwise_conv2d", 8, 8, (3, 3), groups=8, out_size=(4, 4)), 8 * 9 * 16),
        (Layer("t", "conv_transpose2d", 8, 4, (2, 2), in_size=(3, 3), out_size=(6, 6)), 32 * 4 * 9),
        (Layer("l", "linear", 8, 4, in_size=(5, 1), out_size=(5, 1)), 8 * 4 * 5),
        (Layer("m", "matmul", 8, 5, groups=2, in_size=(5, 1), out_size=(5, 1)), 8 * 5 * 2 * 5),
        (Layer("a", "add", 8, 8, in_size=(4, 4), out_size=(4, 4)), 0),
    ],
    ids=lambda value: value.op if isinstance(value, Layer) else None,
)
def test_macs_are_products_of_the_sizes(layer: Layer, macs: int) -> None:
    assert layer.macs == macs


def test_a_width_is_what_never_goes_and_what_groups_keep() -> None:
    width = Width(4, (("a", 1), ("b", 3)))
    assert width.at({"a": 5, "b": 2, "c": 9}) == 4 + 5 + 6
    assert Width(7).at({}) == 7


def test_a_plan_takes_widths_and_the_sizes_of_a_resolution() -> None:
    layer = Layer("d", "depthwise_conv2d", 8, 8, (3, 3), groups=8, in_size=(16, 16))
    sizes = (((8, 8), (4, 4)), ((16, 16), (8, 8)))
    plan = LayerPlan(layer, Width(0, (("a", 1),)), Width(0, (("a", 1),)), sizes, scales_groups=True)
    found = plan.at({"a": 5}, 0)
    assert (found.in_channels, found.out_channels, found.groups) == (5, 5, 5)
    assert (found.in_size, found.out_size) == ((8, 8), (4, 4))
    assert replace(plan, scales_groups=False).at({"a": 5}, 0).groups == 8


def test_a_variant_adds_what_it_has_more_of_than_the_dense_layer() -> None:
    dense = Layer("m", "matmul", 16, 64, in_size=(64, 1), out_size=(64, 1))
    small = replace(dense, out_channels=16, in_size=(16, 1), out_size=(16, 1))
    sizes = ((small.in_size, small.out_size), (dense.in_size, dense.out_size))
    plan = LayerPlan(dense, Width(16), Width(64), sizes, variants=(small, dense))
    assert plan.at({}, 0) == small
    assert plan.at({}, 1) == dense


def test_a_networks_shapes_follow_a_choice() -> None:
    traced = network()
    assert traced.shapes({}) == traced.layers
    assert traced.dense_channels == {"stem": 16, "inner": 24, "inner_free": 8, "left": 16}
    found = {layer.name: layer for layer in traced.shapes({"inner": 10}, resolution=16)}
    assert (found["expand"].out_channels, found["project"].in_channels) == (10, 10)
    assert found["depthwise"].groups == 10
    assert found["stem"].out_size == (16, 16)
    without = {layer.name for layer in traced.shapes({}, frozenset({"block"}))}
    assert found.keys() - without == {"expand", "depthwise", "project", "add"}


def test_a_resolution_that_the_network_has_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        network().shapes({}, resolution=20)
