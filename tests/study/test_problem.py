"""What agents are told of the layer behind each choice."""

from __future__ import annotations

import handmade
from automl.space import build_space
from automl.study.problem import Geometry, read_geometry


def test_geometry_is_that_of_the_layer_behind_each_choice() -> None:
    network = handmade.network()
    space = build_space(network, round_to=4)
    found = dict(zip(space.positions, read_geometry(network, space), strict=True))
    assert found["channels", "inner"] == Geometry(1, False, 16, 24, 32, 32, 1, 1)
    assert found["channels", "inner_free"].position == 5
    assert found["block", "block"].position == 1
