"""Soft masks: what is zeroed comes back, and the last zeros can be cut out."""

from __future__ import annotations

import pytest
import torch
from recoverable import batches, pair

from automl.errors import UsageError
from automl.recovery.base import HookPlan, Moment
from automl.recovery.hooks.soft_mask import SoftMask
from automl.testing import HookContract


class TestSoftMask(HookContract):
    name = "soft-mask"


def test_masked_filters_come_back_until_the_last_part() -> None:
    _, student = pair()
    hook = SoftMask(share=0.5, hard=0.2)
    hook.start(student, HookPlan(batches()[0][0]))
    weight = student.blocks[0].conv1.weight  # type: ignore[union-attr]
    with torch.no_grad():
        weight.copy_(torch.arange(1.0, 9.0).view(8, 1, 1, 1).expand_as(weight))
        student.blocks[0].conv2.weight.fill_(1)  # read alike
    hook.after_epoch(student, Moment(1, 0.5, 0.1))
    gone = weight.flatten(1).norm(dim=1) == 0
    assert gone.tolist() == [True] * 4 + [False] * 4
    with torch.no_grad():
        weight[:2] += 10  # as training does, which nothing keeps from them
    hook.after_step(student, Moment(2, 0.6, 0.1))
    assert (weight[:2] != 0).all()
    hook.after_epoch(student, Moment(3, 0.7, 0.1))
    gone = weight.flatten(1).norm(dim=1) == 0
    assert gone.tolist() == [False, False, True, True, True, True, False, False]
    hook.before_batch(student, Moment(4, 0.85, 0.1))
    with torch.no_grad():
        weight[4] += 10
    hook.after_step(student, Moment(4, 0.85, 0.1))
    assert weight[4].abs().max() == 0
    assert hook.finish(student).startswith("soft-mask: 12 of 24 channels are zero, 2 came back")


@pytest.mark.parametrize("share", [0, 1, -0.5, "half"])
def test_shares_that_are_none_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match="share of soft-mask is a share between 0 and 1"):
        SoftMask(share=share)


def test_what_comes_back_is_held_to_the_gradients_of_what_stayed() -> None:
    """Behind a norm a filter of zeros has a gradient that would be all that is left after clips."""
    _, student = pair()
    student.requires_grad_(True).train()
    hook = SoftMask(share=0.5)
    inputs, _ = batches()[0]
    hook.start(student, HookPlan(inputs))
    weight = student.blocks[0].conv1.weight  # type: ignore[union-attr]

    def lengths() -> torch.Tensor:
        student.zero_grad()
        student(inputs).square().mean().backward()
        assert weight.grad is not None
        return weight.grad.flatten(1).norm(dim=1)

    lengths()
    hook.after_epoch(student, Moment(1, 0.5, 0.1))
    gone = weight.detach().flatten(1).norm(dim=1) == 0
    held = lengths()
    hook.detach(student)
    free = lengths()
    assert free[gone].max() > 10 * free[~gone].mean()
    assert held[gone].max() <= 1.01 * held[~gone].mean()
    torch.testing.assert_close(held[~gone], free[~gone])
