"""Proximal steps give exact zeros, by the rule of the soft threshold."""

from __future__ import annotations

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import without_dead
from automl.recovery.hooks.prox import Proximal
from automl.testing import HookContract


class TestProx(HookContract):
    name = "prox"


def test_short_groups_are_zero_and_others_shorter() -> None:
    layer = nn.Conv2d(2, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.3, 0.4], [3.0, 4.0]]).view(2, 2, 1, 1))
    hook = Proximal(of="filter", strength=1.0)
    hook.start(layer, HookPlan(torch.ones(1, 2, 1, 1)))
    hook.after_step(layer, Moment(0, 0.0, 1 / 2**0.5))  # shortens by 1
    torch.testing.assert_close(
        layer.weight.detach().flatten(1), torch.tensor([[0.0, 0.0], [2.4, 3.2]])
    )
    assert hook.finish(layer) == "prox: 1 of 2 groups of filter are zero"


@pytest.mark.parametrize("of", ["filter", "channel", "shape", "depth", "weights", "gamma"])
def test_zeros_grow_with_the_strength(of: str) -> None:
    counts = []
    for strength in (1e-7, 1000.0):
        student = pair()[1]
        hook = Proximal(of=of, strength=strength)
        hook.start(student, HookPlan(batches()[0][0]))
        hook.after_step(student, Moment(0, 0.0, 0.1))
        counts.append(int(hook.finish(student).split()[1].replace(",", "")))
    assert counts[0] == 0
    assert counts[1] > 0


def test_channels_that_nobody_reads_are_cut_out() -> None:
    student, images = pair()[1].requires_grad_(False), batches()[0][0]
    conv = student.blocks[0].conv2  # type: ignore[union-attr]
    conv.weight[:, 3] *= 1e-3  # type: ignore[union-attr, operator, index]
    hook = Proximal(strength=0.01)
    hook.start(student, HookPlan(images))
    hook.after_step(student, Moment(0, 0.0, 0.1))
    smaller, gone, _ = without_dead(student, images)
    assert gone == 1
    torch.testing.assert_close(smaller(images), student(images), rtol=1e-5, atol=1e-5)


def test_what_is_no_group_is_refused() -> None:
    with pytest.raises(UsageError, match=r"of of prox is one of filter, .*found 'filters'"):
        Proximal(of="filters")
    with pytest.raises(UsageError, match="no batch norms"):
        Proximal(of="gamma").start(nn.Linear(2, 2), HookPlan(torch.ones(1, 2)))
