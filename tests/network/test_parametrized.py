"""Computed weights are baked in, and the model that they came from keeps its own."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import spectral_norm as hooked_spectral_norm
from torch.nn.utils import weight_norm as hooked_weight_norm

from automl.network.forward_tracer import leaf_kind
from automl.network.parametrized import bake, computed
from automl.network.traced_model import trace_network


def layer(kind: str) -> nn.Module:
    plain = nn.Linear(5, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the old norms
        if kind == "weight norm":
            return parametrizations.weight_norm(plain)
        if kind == "spectral norm":
            return parametrizations.spectral_norm(plain)
        if kind == "orthogonal":
            return parametrizations.orthogonal(plain)
        if kind == "hooked weight norm":
            return hooked_weight_norm(plain)
        if kind == "hooked spectral norm":
            return hooked_spectral_norm(plain)
    prune.l1_unstructured(plain, "weight", 0.4)
    return prune.l1_unstructured(plain, "bias", 0.4)


KINDS = (
    "weight norm",
    "spectral norm",
    "orthogonal",
    "hooked weight norm",
    "hooked spectral norm",
    "mask",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_baked_computes_the_same(kind: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 5), layer(kind)).eval()
    x = torch.randn(3, 5)
    expected, before = model(x), {**model.state_dict()}
    baked = copy.deepcopy(model, {id(each): each.detach() for each in computed(model)})
    bake(baked)
    assert leaf_kind(baked[1]) == "linear"
    assert sorted(baked.state_dict()) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    torch.testing.assert_close(baked(x), expected)
    assert {**model.state_dict()}.keys() == before.keys()
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_such_a_layer_is_traced_also_after_a_step_of_training(kind: str) -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), layer(kind), nn.ReLU(), nn.Linear(5, 3))
    model(torch.randn(2, 5)).sum().backward()
    network = trace_network(model, (1, 5)).network
    assert [group.name for group in network.groups] == ["0", "2"]
    assert not network.unprunable
