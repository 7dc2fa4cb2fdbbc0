"""Scores of policies: on the policy's own network, at its own resolution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.apply import Compressor
from automl.compression.refit import RefitSettings
from automl.data import Batches
from automl.evaluate import Evaluator, Resized, judge
from automl.network.read import read_network
from automl.policy import Policy

SHAPE = (1, 3, 16, 16)


class Net(nn.Module):
    """Two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(F.relu(self.first(x)))).mean((2, 3)))


def batches(*sizes: int) -> Batches:
    generator = torch.Generator().manual_seed(0)
    return Batches(
        tuple((torch.randn(size, *SHAPE[1:], generator=generator), size) for size in sizes)
    )


def compressor() -> Compressor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reading = read_network(Net().eval(), SHAPE, resolutions=(8,))
    return Compressor(reading, batches(6).inputs, {"first": (2, 4), "second": (4,)})


def test_a_model_is_judged_in_evaluation_mode_without_gradients() -> None:
    seen = []

    def score(model: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> float:
        seen.extend([model.training, torch.is_grad_enabled(), data])
        return 1

    validation = batches(2)
    result = judge(Net().train(), score, validation)
    assert (result, type(result)) == (1.0, float)
    assert seen == [False, False, validation]


def test_batches_are_resized_as_they_are_read_again_and_again() -> None:
    resized = Resized(batches(2, 3), 8)
    for _ in range(2):
        assert [(tuple(x.shape), y) for x, y in resized] == [((2, 3, 8, 8), 2), ((3, 3, 8, 8), 3)]


@pytest.mark.parametrize(("resolution", "size"), [(0, 16), (8, 8), (16, 16)])
def test_a_policy_is_scored_on_its_network_at_its_resolution(resolution: int, size: int) -> None:
    made, seen = compressor(), list[tuple[int, ...]]()

    def score(model: nn.Module, data: Iterable[tuple[Tensor, Any]]) -> float:
        for inputs, _ in data:
            seen.append((inputs.shape[-1], *model.get_submodule("first").weight.shape[:1]))  # type: ignore[union-attr,misc]
            last = model(inputs)
        return float(last.sum())

    evaluate = Evaluator(made, batches(5, 1), score, RefitSettings(images=4))
    policy = Policy({"first": 4}, resolution=resolution)
    found = evaluate(policy)
    assert seen == [(size, 4), (size, 4)]
    assert found == evaluate(policy)
    unfinished = judge(made.make(policy, finish=False), score, batches(5, 1), resolution)
    assert found != unfinished
