"""INQ: shares are frozen part by part, and at the end all weights are zero or powers of two."""

from __future__ import annotations

import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.hooks.freeze_progressive import FreezeProgressive
from automl.testing import HookContract


class TestFreezeProgressive(HookContract):
    name = "freeze-progressive"


def test_the_largest_are_frozen_first_and_stay() -> None:
    layer = nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.1, 1.5, 8)[None])
    hook = FreezeProgressive()
    hook.start(layer, HookPlan(torch.ones(1, 8)))
    seen = []
    for step in range(4):
        moment = Moment(step, step / 4 + 0.01, 1.0)
        hook.before_batch(layer, moment)
        layer.zero_grad()
        layer(torch.ones(1, 8)).sum().backward()
        assert layer.weight.grad is not None
        seen.append(int((layer.weight.grad == 0).sum()))
        with torch.no_grad():
            layer.weight.add_(0.003)
        hook.after_step(layer, moment)
    assert seen == [4, 6, 7, 8]
    assert hook.finish(layer).startswith(
        "freeze-progressive: all weights are zero or powers of two"
    )
    kept = layer.weight.detach()[layer.weight.detach() != 0].abs().log2()
    assert torch.equal(kept, kept.round())
