"""DropConnect: the asked share is left out, the mean stays, and all weights come back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.hooks.dropconnect import DropConnect
from automl.testing import HookContract


class TestDropConnect(HookContract):
    name = "dropconnect"


def test_the_share_and_the_mean_are_right_and_all_come_back() -> None:
    layer = nn.Linear(100, 100, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    hook = DropConnect(share=0.25)
    hook.start(layer, HookPlan(torch.ones(1, 100), seed=3))
    hook.before_batch(layer, Moment(0, 0.0, 0.1))
    dropped = layer.weight.detach() == 0
    assert float(dropped.float().mean()) == pytest.approx(0.25, abs=0.02)
    assert float(layer.weight.detach().mean()) == pytest.approx(1.0, abs=0.03)
    layer(torch.ones(1, 100)).sum().backward()
    hook.before_step(layer, Moment(0, 0.0, 0.1))
    assert torch.equal(layer.weight.detach(), torch.ones(100, 100))
    assert layer.weight.grad is not None
    assert (layer.weight.grad[dropped] == 0).all()
    torch.testing.assert_close(
        layer.weight.grad[~dropped],
        torch.full(((~dropped).sum(),), 4 / 3),  # type: ignore[arg-type]
    )
    hook.before_batch(layer, Moment(1, 0.5, 0.1))
    assert not torch.equal(layer.weight == 0, dropped)
    hook.detach(layer)
    assert torch.equal(layer.weight.detach(), torch.ones(100, 100))
