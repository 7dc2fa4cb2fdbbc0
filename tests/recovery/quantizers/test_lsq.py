"""The gradients are those of the paper."""

from __future__ import annotations

import torch

from automl.recovery.base import Levels
from automl.recovery.quantizers.lsq import learned
from automl.testing import TrainedQuantizerContract


class TestLsq(TrainedQuantizerContract):
    name = "lsq"


def test_gradients_are_those_of_the_paper() -> None:
    values = torch.tensor([-3.0, -0.3, 0.2, 0.55, 9.0], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)
    found = learned(values, step, Levels(-2, 3), 12)
    assert found.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.5]
    slope = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    found.backward(slope)
    assert values.grad is not None
    assert step.grad is not None
    assert values.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]
    by_value = torch.tensor([-2.0, -1 + 0.6, 0 - 0.4, 1 - 1.1, 3.0])  # equation 3
    torch.testing.assert_close(step.grad, (slope * by_value).sum() / (12 * 3) ** 0.5)


def test_a_step_for_each_channel_has_its_own_gradient() -> None:
    values = torch.tensor([[0.3, 0.9], [-0.3, 5.0]])
    step = torch.tensor([[0.5], [1.0]], requires_grad=True)
    learned(values, step, Levels(-1, 1), 4).sum().backward()
    assert step.grad is not None
    torch.testing.assert_close(step.grad, torch.tensor([[0.4 + 1.0], [0.3 + 1.0]]) / 2)


def test_one_bit_is_the_sign() -> None:
    found = learned(torch.tensor([-0.1, 0.0, 7.0]), torch.tensor(0.5), Levels(-1, 1, True), 3)
    assert found.tolist() == [-0.5, 0.5, 0.5]
