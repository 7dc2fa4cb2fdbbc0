"""Surgery: what is cut is spliced back where it grows, and the share holds at the end."""

from __future__ import annotations

import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.hooks.surgery import Surgery
from automl.testing import HookContract


class TestSurgery(HookContract):
    name = "surgery:every=2"


def test_a_weight_that_grows_comes_back_and_learns_while_it_is_cut() -> None:
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, 0.2, 1.0, 2.0]]))
    hook = Surgery(share=0.5, every=1, hard=0.2)
    hook.start(layer, HookPlan(torch.ones(1, 4)))
    hook.before_batch(layer, Moment(0, 0.0, 1.0))
    assert layer.weight.tolist()[0] == [0.0, 0.0, 1.0, 2.0]
    layer(torch.ones(1, 4)).sum().backward()
    hook.before_step(layer, Moment(0, 0.0, 1.0))
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[0.1, 0.2, 1.0, 2.0]]))
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist()[0] == [1.0] * 4
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[5.0, 0.2, 0.3, 2.0]]))
    hook.before_batch(layer, Moment(1, 0.5, 1.0))
    assert layer.weight.tolist()[0] == [5.0, 0.0, 0.0, 2.0] or layer.weight[0, 0] == 5
    hook.before_step(layer, Moment(1, 0.5, 1.0))
    said = hook.finish(layer)
    assert layer.weight.tolist()[0] == [5.0, 0.0, 0.0, 2.0]
    assert said == "surgery: 2 of 4 weights are zero, 1 were spliced back on the way"


def test_a_batch_that_failed_leaves_the_weights_as_they_were() -> None:
    layer = nn.Linear(4, 1)
    before = layer.weight.detach().clone()
    hook = Surgery()
    hook.start(layer, HookPlan(torch.ones(1, 4)))
    hook.before_batch(layer, Moment(0, 0.0, 1.0))
    assert not torch.equal(layer.weight, before)
    hook.detach(layer)
    assert torch.equal(layer.weight, before)
