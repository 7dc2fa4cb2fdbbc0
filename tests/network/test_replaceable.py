"""Values that say which layers something else can run for."""

from __future__ import annotations

import dataclasses

import pytest
from zoo import Inverted

from automl.network import Gate, MergeableLayers, trace_network


def test_they_name_layers_of_the_network_and_do_not_change() -> None:
    network = trace_network(Inverted().eval(), (1, 3, 32, 32), resolutions=()).network
    known = {plan.layer.name for plan in network.plans}
    parts: list[Gate | MergeableLayers] = [*network.gates, *network.merges]
    assert {type(part) for part in parts} == {Gate, MergeableLayers}
    for part in parts:
        assert known.issuperset((*part.chain, *part.layers))
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.name = "another"  # type: ignore[misc]
