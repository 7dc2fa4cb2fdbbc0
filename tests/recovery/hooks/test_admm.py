"""ADMM: the distance to the set falls, and what is left is a member of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import HookPlan, Moment
from automl.recovery.hooks.admm import Admm
from automl.testing import HookContract


class TestAdmm(HookContract):
    name = "admm:every=2"


class TestAdmmOfPowers(HookContract):
    name = "admm:to=pow2,every=2"


@pytest.mark.parametrize("to", ["zeros", "pow2", "ternary"])
def test_the_residual_falls_while_the_loss_is_minimised(to: str) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(20, 3, bias=False)
    aim = torch.randn(3, 20, generator=generator)
    with torch.no_grad():
        layer.weight.copy_(aim)
    hook = Admm(to=to, every=5, hard=0.01)
    hook.start(layer, HookPlan(torch.ones(1, 20)))
    optimiser = torch.optim.SGD(layer.parameters(), 0.05)
    for step in range(400):
        optimiser.zero_grad()
        (0.05 * (layer.weight - aim).square().sum()).backward()
        moment = Moment(step, min(step / 400, 0.98), 0.05)
        hook.before_step(layer, moment)
        optimiser.step()
        hook.after_step(layer, moment)
    assert len(hook.residuals) == 81
    quarters = [sum(hook.residuals[start : start + 20]) / 20 for start in range(0, 80, 20)]
    assert quarters[-1] < 0.6 * hook.residuals[0]
    if to == "zeros":  # between powers of two weights go on changing sides
        assert quarters == sorted(quarters, reverse=True)
        assert quarters[-1] < 0.1 * hook.residuals[0]
    hook.finish(layer)
    weight = layer.weight.detach()
    if to == "zeros":
        assert int((weight == 0).sum()) == 30
    if to == "pow2":
        kept = weight[weight != 0].abs().log2()
        assert torch.equal(kept, kept.round())
    if to == "ternary":
        assert all(len(row.abs().unique()) <= 2 for row in weight)


def test_sets_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="to of admm is one of zeros, pow2, ternary"):
        Admm(to="pow")
    with pytest.raises(UsageError, match="bits of admm is a whole number from 3 to 8, found 2"):
        Admm(bits=2)
