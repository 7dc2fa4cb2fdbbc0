"""What a stage runs is what is priced: a concatenation where there are several convolutions."""

from __future__ import annotations

from automl.compression import block_form
from automl.network import trace_network, units_of
from automl.testing.blocks import BlockNetwork
from automl.testing.networks import SHAPE, drawn


def test_convolutions_side_by_side_are_concatenated() -> None:
    network = trace_network(drawn(BlockNetwork, 0).eval(), SHAPE, resolutions=()).network
    unit = next(unit for unit in units_of(network) if unit.name == "one")
    squeeze, expand, _ = block_form("fire").stages(unit)
    assert [plan.layer.op for plan in squeeze.operators] == ["conv2d"]
    assert [plan.layer.op for plan in expand.operators] == ["conv2d", "conv2d", "concat"]
    concat = expand.operators[-1].layer
    assert (concat.in_channels, concat.out_channels, concat.detail) == (16, 16, "2")
    assert concat.out_size == unit.last.layer.out_size
    assert len({plan.layer.name for plan in expand.operators}) == 3
