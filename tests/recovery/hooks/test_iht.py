"""Hard thresholding: few, all, few; what is zero in the end is the asked share."""

from __future__ import annotations

import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.hooks.iht import HardThresholding
from automl.testing import HookContract


class TestIht(HookContract):
    name = "iht"


def test_weights_are_set_free_in_between() -> None:
    layer = nn.Linear(10, 1, bias=False)
    hook, zeros = HardThresholding(share=0.5, rounds=1), []
    hook.start(layer, HookPlan(torch.ones(1, 10)))
    for step in range(9):
        moment = Moment(step, step / 9, 1.0)
        hook.before_batch(layer, moment)
        with torch.no_grad():
            layer.weight.add_(0.01)
        hook.after_step(layer, moment)
        zeros.append(int((layer.weight == 0).sum()))
    assert zeros == [5, 5, 5, 0, 0, 0, 5, 5, 5]
    assert hook.finish(layer) == "iht: 5 of 10 weights are zero"
