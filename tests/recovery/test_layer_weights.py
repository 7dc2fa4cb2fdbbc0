"""Weights of layers, their groups, and their masks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.errors import UsageError
from automl.recovery.layer_weights import (
    Exchanged,
    group_lengths,
    largest,
    layer_weights,
    masked,
    norm_scales,
    told_zeros,
)


def test_layers_have_weights_and_tied_ones_are_named_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Conv2d(1, 1, 1))
    model[2].weight = model[0].weight
    assert [*layer_weights(model)] == ["0.weight", "3.weight"]
    assert [*norm_scales(model)] == ["1"]
    with pytest.raises(UsageError, match="no convolution and no linear layer"):
        layer_weights(nn.BatchNorm1d(2))
    with pytest.raises(UsageError, match="no batch norms"):
        norm_scales(nn.Linear(2, 2))


def test_groups_have_their_lengths() -> None:
    weight = torch.tensor([[3.0, 0.0], [4.0, 12.0]]).view(2, 2, 1, 1)
    expected = {
        "filter": ([3.0, 160**0.5], 2),
        "channel": ([5.0, 12.0], 2),
        "shape": ([5.0, 12.0], 2),
        "depth": ([13.0], 4),
        "weights": ([3.0, 0.0, 4.0, 12.0], 1),
    }
    for structure, (lengths, numbers) in expected.items():
        found = group_lengths(weight, structure)
        assert found is not None
        assert found[0].flatten().tolist() == pytest.approx(lengths)
        assert found[1] == numbers
    assert group_lengths(torch.ones(3, 2), "depth") is None
    assert group_lengths(torch.ones(3, 1, 3, 3), "channel") is None


def test_masks_hold_the_share() -> None:
    layer = nn.Linear(4, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0, 0.5, 3.0]]))
    kept = largest(layer.weight, 0.5)
    assert kept.tolist() == [[False, True, False, True]]
    masked({"weight": layer.weight}, {"weight": kept})
    assert layer.weight.tolist() == [[0.0, -2.0, 0.0, 3.0]]
    assert told_zeros("mine", {"weight": layer.weight}) == "mine: 2 of 4 weights are zero"


def test_what_is_exchanged_comes_back_once() -> None:
    layer, exchanged = nn.Linear(2, 1), Exchanged()
    before = layer.weight.detach().clone()
    weights = {"weight": layer.weight}
    exchanged.put(weights, {"weight": torch.zeros(1, 2)})
    assert layer.weight.abs().sum() == 0
    exchanged.back(weights)
    assert torch.equal(layer.weight, before)
    exchanged.put(weights, {"weight": torch.zeros(1, 2)})
    exchanged.forget()
    exchanged.back(weights)
    assert layer.weight.abs().sum() == 0
