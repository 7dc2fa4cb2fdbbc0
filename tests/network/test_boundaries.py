"""Where values go from one layer's precision to another's."""

from __future__ import annotations

import pytest
import torch
from flow_network import traced_small
from torch import Tensor, nn

from automl.network.traced_model import TracedModel, trace_network


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    return traced_small()


def test_boundaries_stand_where_owners_change(traced: TracedModel) -> None:
    pairs = {(each.producer, each.consumer): each.plan for each in traced.network.boundaries}
    assert ("", "stem") in pairs
    assert ("stem", "blocks.0.second") in pairs  # the shortcut
    assert ("wide", "") in pairs  # SiLU computes in float
    plan = pairs["stem", "blocks.0.first"]
    assert plan.block == "blocks.0"
    assert plan.layer.op == "convert"
    assert plan.layer.in_size == (8, 8)
    shortcuts = {each.value for each in traced.network.boundaries if each.producer == "stem"}
    assert len(shortcuts) == 1  # two layers read one value
    assert {each.reader_block for each in traced.network.boundaries if each.producer == "stem"} == {
        "blocks.0"
    }


def test_a_conversion_has_the_width_of_its_group_and_the_sizes_of_every_resolution() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x))).mean((2, 3))

    network = trace_network(Plain().eval(), (1, 3, 16, 16), resolutions=(8, 16)).network
    (inner,) = (each for each in network.boundaries if each.producer == "first")
    assert network.resolutions == (8, 16)
    assert inner.plan.at({"first": 5}, 0).in_channels == 5
    assert [inner.plan.at({"first": 8}, index).in_size for index in (0, 1)] == [(8, 8), (16, 16)]
    (image,) = (each for each in network.boundaries if each.producer == "")
    assert image.plan.layer.in_channels == 3
    assert image.plan.inputs.parts == ()
