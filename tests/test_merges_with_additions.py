"""Merged residual branches that add what they read themselves: priced, measured, made, exported."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.compression import QuantizedModel
from automl.cost import build_cost_model
from automl.export import count_macs, onnx_bytes
from automl.export.agreement import check_quantized
from automl.network import merge_layers
from automl.policy import Bits, Policy
from automl.testing.networks import SHAPE, loss
from bits_networks import INT8
from merged_networks import BODY, LAYERS, chain, inputs, kinds, made, space_of

FEW = Bits(4, 8)


def test_it_is_the_same_function_without_the_addition() -> None:
    maker = made()
    model = maker.make(Policy(further=BODY), finish=False)
    graph = kinds(onnx_bytes(model, SHAPE))
    assert "Add" not in graph
    other: nn.Module = maker.database.candidate(Policy())
    (merge,) = (each for each in chain().network.merges if each.name == "body.expand")
    merge_layers(other, merge.chain, maker.merging.solved(merge.chain))
    assert "Add" in kinds(onnx_bytes(other, SHAPE))
    with torch.no_grad():
        torch.testing.assert_close(model(inputs(8, 3)), other(inputs(8, 3)), rtol=1e-4, atol=1e-5)


def test_channels_are_cut_and_the_finishing_step_knows_that_nothing_is_added() -> None:
    maker = made()
    policy = Policy({"c": 5}, further=BODY)
    model = maker.make(policy)
    assert model.get_submodule("body.project").weight.shape == (5, 5, 3, 3)
    assert "Add" not in kinds(onnx_bytes(model, SHAPE))
    assert loss(maker, model) < loss(maker, maker.make(policy, finish=False))


@pytest.mark.parametrize("scheme", ["qdq-u8s8", "qdq-s8s8", "qdq-s8s8-residual"])
@pytest.mark.parametrize(("bits", "adds"), [(INT8, True), (FEW, False)])
def test_in_few_bits_the_addition_stays(scheme: str, bits: Bits, adds: bool) -> None:
    """A 1 beside the other weights would make their steps coarse."""
    maker = made(scheme)
    model = maker.make(Policy(bits=dict.fromkeys(("a", "b", *LAYERS), bits), further=BODY))
    assert isinstance(model, QuantizedModel)
    content = onnx_bytes(model, SHAPE)
    assert ("Add" not in kinds(content)) == adds
    assert check_quantized(content, model, inputs(32, 3)).alike == 1.0


def test_the_work_is_that_of_the_model() -> None:
    space = space_of(chain())
    costs = build_cost_model(chain().network, space, None)
    policy = Policy(further=BODY)
    model = made().make(policy)
    assert costs.cost(policy).macs == count_macs(model, SHAPE).macs
