"""The channels of a layer as axes: heads and their widths are priced as pairs."""

from __future__ import annotations

import numpy as np
import pytest

from automl.cost.axes import axes_of, settle
from automl.network.layers import ChannelGroup, Layer, LayerPlan, Network, Width
from automl.space import Space, build_space

GROUPS = tuple(ChannelGroup(name, count, (), ()) for name, count in (("h", 4), ("w", 6), ("e", 8)))
NETWORK = Network((), GROUPS, (), (1, 8), (0,))
PAIRS = Width(2, (), ((("h", "w"), 3),))


def plan(inputs: Width, outputs: Width, heads: Width | None = None) -> LayerPlan:
    layer = Layer("layer", "linear", 8, 74)
    return LayerPlan(layer, inputs, outputs, (((1, 1), (1, 1)),), heads=heads)


@pytest.fixture
def space() -> Space:
    return build_space(NETWORK)


def test_a_pair_is_indexed_by_both_and_counts_their_product(space: Space) -> None:
    axes = axes_of(plan(Width(0, (("e", 1),)), PAIRS), space, 99)
    read, written = axes
    assert read.inputs is not None
    assert read.inputs.tolist() == list(range(1, 9))
    assert written.outputs is not None
    for heads in range(1, 5):
        for width in range(1, 7):
            chosen = {0: heads - 1, 1: width - 1}
            index = sum(int(step[chosen[variable]]) for variable, step in written.steps)
            assert written.outputs[index] == 2 + 3 * heads * width


def test_of_equal_products_one_is_priced_and_none_interpolated(space: Space) -> None:
    _, axis = axes_of(plan(Width(0, (("e", 1),)), PAIRS), space, 99)
    priced = axis.counts[axis.priced].tolist()
    assert priced == sorted({2 + 3 * h * w for h in range(1, 5) for w in range(1, 7)})
    assert not axis.between.any()
    np.testing.assert_allclose(axis.weights() @ priced, axis.counts)


def test_counts_between_the_priced_ones_are_interpolated(space: Space) -> None:
    _, axis = axes_of(plan(Width(0, (("e", 1),)), PAIRS), space, 4)
    assert len(axis.priced) == 4
    assert axis.between.sum() == sum(
        count not in set(axis.counts[axis.priced]) for count in axis.counts.tolist()
    )
    np.testing.assert_allclose(axis.weights() @ axis.counts[axis.priced], axis.counts)


def test_heads_are_an_axis_of_their_own(space: Space) -> None:
    product = plan(Width(0, (("w", 1),)), Width(5), Width(0, (("h", 1),)))
    read, heads = axes_of(product, space, 99)
    assert (read.heads, heads.inputs, heads.outputs) == (None, None, None)
    assert heads.heads is not None
    assert heads.heads.tolist() == [1, 2, 3, 4]


def test_groups_that_are_not_open_count_as_fixed() -> None:
    space = build_space(NETWORK, round_to={"h": 4, "w": 1, "e": 8})
    settled = settle(plan(Width(0, (("e", 1),)), PAIRS, Width(0, (("h", 1),))), NETWORK, space)
    assert settled.inputs == Width(8)
    assert settled.outputs == Width(2, (("w", 12),))
    assert settled.heads == Width(4)
