"""A candidate's short recovery: it trains, it is the same each time, and it leaves all else."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.errors import DataError
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Policy
from automl.recovery.in_loop import ShortRecovery
from automl.recovery.loop import RecoveryData
from automl.recovery.recipe import RecoveryRecipe

SHAPE = (1, 3, 8, 8)


class Net(nn.Module):
    """A convolution with its norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.stem(x))).mean((2, 3)))


class Drawn:
    """Batches that torch's generator draws anew in each pass."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[tuple[Tensor, None]]:
        for _ in range(3):
            yield torch.randn(16, *SHAPE[1:]), None


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trace_network(Net().eval(), SHAPE, resolutions=())


def damaged(traced: TracedModel, policy: Policy) -> nn.Module:
    """The dense network with so many of its filters off: what a policy might have left."""
    made = copy.deepcopy(traced.model)
    with torch.no_grad():
        weight = made.get_parameter("stem.weight")
        weight[policy.channels["stem"] :] = 0
    return made


def recovery(traced: TracedModel, steps: int = 12, rate: float = 0.05) -> ShortRecovery:
    recipe = RecoveryRecipe(("kd",), 1_000, steps, learning_rate=rate)
    inputs = [torch.randn(32, *SHAPE[1:], generator=torch.Generator().manual_seed(1))]
    return ShortRecovery(
        lambda policy: damaged(traced, policy),
        traced.model,
        recipe,
        RecoveryData(Drawn(), seed=3),
        inputs,
    )


def distance(traced: TracedModel, model: nn.Module) -> float:
    images = torch.randn(64, *SHAPE[1:], generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return float((model(images) - traced.model(images)).square().mean())


def test_it_comes_nearer_to_the_dense_network(traced: TracedModel) -> None:
    policy = Policy({"stem": 4})
    before, made = damaged(traced, policy), recovery(traced)(policy)
    assert distance(traced, made) < 0.9 * distance(traced, before)
    assert made.state_dict().keys() == before.state_dict().keys()  # norms are folded again


def test_what_a_policy_comes_to_depends_on_nothing_before_it(traced: TracedModel) -> None:
    make, policy = recovery(traced), Policy({"stem": 4})
    first = make(policy).state_dict()
    make(Policy({"stem": 7}))
    torch.randn(5)
    with torch.no_grad():
        again = make(policy).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    alone = recovery(traced)(policy).state_dict()
    assert all(torch.equal(value, alone[name]) for name, value in first.items())


def test_the_dense_network_is_left_as_it_was(traced: TracedModel) -> None:
    before = copy.deepcopy(traced.model.state_dict())
    recovery(traced)(Policy({"stem": 4}))
    after = traced.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(each.requires_grad for each in traced.model.parameters())


def test_a_training_that_fails_is_said(traced: TracedModel) -> None:
    with pytest.raises(DataError, match="cannot be trained: the loss was not finite"):
        recovery(traced, rate=float("inf"))(Policy({"stem": 4}))
