"""What is put in a unit's place computes what was built, and is taken out again."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from automl.compression import block_form, build, put
from automl.network import trace_network, units_of
from automl.testing.blocks import BlockNetwork
from automl.testing.networks import SHAPE, drawn, made_images


def test_it_runs_in_place_of_the_unit_and_is_undone() -> None:
    traced = trace_network(drawn(BlockNetwork, 0).eval(), SHAPE, resolutions=())
    unit = next(unit for unit in units_of(traced.network) if unit.name == "one")
    model, images = copy.deepcopy(traced.model), made_images(4)
    built = build(block_form("separable-relu"), unit, torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(images)
        stem = F.relu(model.get_submodule("stem")(images))
        found = F.relu(stem + built(stem))
        found = F.relu(model.get_submodule("down")(found))
        found = F.relu(model.get_submodule("out")(found))
        wanted = model.get_submodule("head")(found.mean((2, 3)))
        undo = put(model, unit, built)
        assert torch.allclose(model(images), wanted, atol=1e-6)
        undo()
        assert torch.equal(model(images), before)


def test_a_unit_that_cannot_become_it_is_refused() -> None:
    traced = trace_network(drawn(BlockNetwork, 0).eval(), SHAPE, resolutions=())
    unit = units_of(traced.network)[0]

    class Nothing(type(block_form("fire"))):  # type: ignore[misc]
        def stages(self, unit: object) -> tuple[()]:
            return ()

    with pytest.raises(ValueError, match=f"no stages for {unit.name}"):
        build(Nothing(), unit)
