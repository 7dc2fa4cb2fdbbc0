"""Who owns which value, where values are rounded, where precisions meet."""

from __future__ import annotations

import pytest
import torch
from flow_network import traced_small
from torch import Tensor, nn

from automl.network.precision import Flow
from automl.network.traced_model import TracedModel, trace_network


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    return traced_small()


def test_what_runs_between_layers_takes_the_precision_of_the_layer_before(
    traced: TracedModel,
) -> None:
    owners = {plan.layer.name: plan.owner for plan in traced.network.plans}
    assert owners["blocks.0.first"] == "blocks.0.first"
    assert owners["add_1"] == "blocks.0.second"
    assert owners["silu_1"] == ""
    assert Flow(traced.trace).layers == (
        "stem",
        "blocks.0.first",
        "blocks.0.second",
        "blocks.1.first",
        "blocks.1.second",
        "wide",
        "head",
    )


def test_one_integer_layer_in_a_float_network_rounds_what_it_reads_and_writes(
    traced: TracedModel,
) -> None:
    found = Flow(traced.trace).round({"blocks.0.first": 8}, "qdq")
    assert found.inputs[("blocks.0.first", 0)] == (8,)
    assert found.outputs == {("blocks.0", 0): 8}  # the ReLU that fuses with it
    assert ("blocks.0.second", 0) not in found.inputs


def test_an_addition_rounds_both_operands_or_leaves_the_convolution_to_it(
    traced: TracedModel,
) -> None:
    flow = Flow(traced.trace)
    whole = dict.fromkeys(flow.layers, 8)
    plain, residual = flow.round(whole, "qdq"), flow.round(whole, "qdq-residual")
    assert plain.inputs[("blocks.0", 1)] == (8, 8)
    assert ("blocks.0.second", 0) in plain.outputs
    assert residual.inputs[("blocks.0", 1)] == (32, 8)
    assert ("blocks.0.second", 0) not in residual.outputs
    assert ("head", 0) not in plain.outputs  # logits stay float


def test_simulators_round_only_what_layers_read(traced: TracedModel) -> None:
    found = Flow(traced.trace).round({"stem": 6, "head": 32}, "reads")
    assert not found.outputs
    assert found.inputs == {("stem", 0): (6,)}


def test_what_leaves_a_removed_block_is_what_entered(traced: TracedModel) -> None:
    flow = Flow(traced.trace, frozenset({"blocks.0"}))
    (operand,) = flow.places[("blocks.1.first", 0)].operands
    assert operand.owner == "stem"
    assert not any(address[0].startswith("blocks.0") for address in flow.places)


class Unread(nn.Module):
    """A second head whose outputs nobody takes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.other, self.last = nn.Conv2d(8, 8, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        self.last(self.other(x).relu().mean((2, 3)))
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def test_what_nobody_reads_is_not_rounded() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        traced = trace_network(Unread().eval(), (1, 3, 8, 8), resolutions=())
    flow = Flow(traced.trace)
    found = flow.round(dict.fromkeys(flow.layers, 8), "qdq")
    assert ("stem", 0) in found.inputs
    assert ("head", 0) in found.inputs
    unread = {("other", 0), ("last", 0)}
    assert not unread & {*found.inputs, *found.outputs}
    inside = flow.round(dict.fromkeys(("other", "last"), 8), "qdq")
    assert not inside.inputs
    assert not inside.outputs
