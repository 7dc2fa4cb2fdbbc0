"""Where channels that are multiplied with each other are written."""

from __future__ import annotations

import pytest
from attention_forms import SHAPE, build

from automl.network.layers import ChannelPair
from automl.network.traced_model import trace_network


def pair(name: str) -> ChannelPair:
    groups = trace_network(build(name), SHAPE).network.groups
    (found,) = [each for group in groups for each in group.pairs]
    return found


@pytest.mark.parametrize("name", ["separate", "scaled", "normed"])
def test_queries_and_keys_of_layers_of_their_own(name: str) -> None:
    found = pair(name)
    assert [side.module for side in (found.left, found.right)] == ["attention.q", "attention.k"]
    expected = tuple(tuple(8 * head + place for head in range(4)) for place in range(8))
    assert found.left.positions == found.right.positions == expected


@pytest.mark.parametrize("name", ["fused", "chunked"])
def test_queries_and_keys_of_one_layer(name: str) -> None:
    found = pair(name)
    assert found.left.module == found.right.module == "attention.qkv"
    assert found.left.positions[3] == (3, 11, 19, 27)
    assert found.right.positions[3] == (35, 43, 51, 59)


def test_a_single_head() -> None:
    assert pair("single").left.positions == tuple((place,) for place in range(32))
