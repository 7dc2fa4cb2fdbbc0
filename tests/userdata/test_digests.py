"""Digests tell weights and data by what they hold, and are the same in every process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from automl.userdata.data import Batches, Data
from automl.userdata.digests import data_digest, weights_digest


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def data(targets: Any = None) -> Data:
    inputs = torch.arange(24.0).reshape(2, 3, 2, 2)
    found = Batches(((inputs, torch.tensor([0, 1]) if targets is None else targets),))
    return Data(Batches(((inputs + 1.0, None),)), found)


def test_the_same_is_the_same() -> None:
    assert weights_digest(network()) == weights_digest(network())
    assert data_digest(data()) == data_digest(data())
    assert len(data_digest(data())) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model[0].weight.data.mul_(1.0 + 1e-6),
        lambda model: model[1].running_mean.add_(1.0),
        lambda model: model.to(torch.bfloat16),
        lambda model: model.register_buffer("more", torch.zeros(1)),
    ],
)
def test_other_weights_are_other(change: Callable[[Any], Any]) -> None:
    model = network()
    change(model)
    assert weights_digest(model) != weights_digest(network())


def test_inputs_of_both_parts_count() -> None:
    one = data()
    other = Batches(((torch.zeros(2, 3, 2, 2), torch.tensor([0, 1])),))
    found = {
        data_digest(one),
        data_digest(dataclasses.replace(one, calibration=other)),
        data_digest(dataclasses.replace(one, validation=other)),
    }
    assert len(found) == 3
    assert data_digest(dataclasses.replace(one, test=other)) == data_digest(one)


def test_targets_of_all_kinds_count() -> None:
    targets: list[Any] = [
        torch.tensor([0, 1]),
        torch.tensor([1, 0]),
        torch.tensor([0, 1], dtype=torch.int32),
        torch.eye(2).to_sparse(),
        np.array([0, 1]),
        np.array(["a", "b"], dtype=object),
        [0, 1],
        (0, 1),
        ["cat", "dog"],
        {"boxes": [torch.zeros(4)], "labels": [1]},
        {"boxes": [torch.ones(4)], "labels": [1]},
        None,
        object(),
    ]
    digests = [data_digest(data(each)) for each in targets if each is not None]
    assert len(set(digests)) == len(digests)
    assert data_digest(data(object())) == digests[-1], "no address of an object"
