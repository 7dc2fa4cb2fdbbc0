"""What a gate multiplied with, of the least squared error."""

from __future__ import annotations

import pytest
import torch
from gated import SHAPE, Gated

from automl.compression import gate_factors, without_gates
from automl.compression.blocks.gates import gates_left_out, leave_out
from automl.network import trace_network
from automl.policy import Policy
from automl.testing.networks import drawn, made_images


def test_no_other_numbers_are_nearer_to_the_gated_map() -> None:
    traced, images = trace_network(drawn(Gated, 0).eval(), SHAPE, resolutions=()), made_images(40)
    model, (gate, _) = traced.model, traced.network.gates
    seen: dict[str, torch.Tensor] = {}
    module = model.get_submodule(gate.name)
    module.register_forward_hook(lambda _, args, out: seen.update(read=args[0], written=out))
    found = gate_factors(model, [gate], images)[gate.name]
    model(images)

    def error(factors: torch.Tensor) -> torch.Tensor:
        return (seen["read"] * factors.view(1, -1, 1, 1) - seen["written"]).square().sum((0, 2, 3))

    for step in (0.99, 1.01):
        assert (error(found) < error(found * step)).all()


def test_gates_of_blocks_that_go_are_none_by_themselves() -> None:
    network = trace_network(drawn(Gated, 0).eval(), SHAPE, resolutions=()).network
    further = {"alternative": {"one.se.reduce": "se-gone", "two.se.reduce": "half-width"}}
    policy = Policy(removed=frozenset({"one"}), further=further)
    assert not gates_left_out(network, policy)
    assert without_gates(network, policy) is policy
    left = without_gates(network, Policy(further=further))
    assert left.removed == {"one.se"}
    assert left.further["alternative"] == {"two.se.reduce": "half-width"}


def test_what_is_left_out_for_a_look_comes_back() -> None:
    traced, images = trace_network(drawn(Gated, 0).eval(), SHAPE, resolutions=()), made_images(4)
    whole, gate = traced.model(images), traced.network.gates[1]
    factors = gate_factors(traced.model, [gate], images)[gate.name]
    undo = leave_out(traced.model, gate, factors)
    assert not torch.equal(traced.model(images), whole)
    undo()
    assert torch.equal(traced.model(images), whole)
    with pytest.raises(KeyError):
        gate_factors(traced.model, [], images)[gate.name]
