"""Surgery: what is cut is spliced back where it grows, and the share holds at the end."""

from __future__ import annotations

import torch
from recoverable import batches, pair
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.hooks.surgery import Surgery
from automl.recovery.layer_weights import layer_weights
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


def test_what_is_cut_takes_nothing_of_the_length_that_gradients_are_held_to() -> None:
    _, student = pair()
    student.requires_grad_(True).train()
    hook = Surgery(share=0.8)
    inputs, _ = batches()[0]
    hook.start(student, HookPlan(inputs))
    hook.before_batch(student, Moment(0, 0.1, 0.1))
    for part in inputs.split(8):  # two batches of one step
        student(part).square().mean().mul(1000).backward()
    first = {name: each.grad.clone() for name, each in student.named_parameters()}  # type: ignore[union-attr]
    whole = torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    hook.before_step(student, Moment(0, 0.1, 0.1))
    kept = hook.state()["kept"]
    assert whole > 2
    for name, weight in layer_weights(student).items():
        found, stays = weight.grad, kept[name]
        assert found is not None
        torch.testing.assert_close(found * stays, first[name] / whole, rtol=1e-4, atol=1e-7)
        assert (found * ~stays).norm() > 0.1 * (found * stays).norm()  # and it learns


def test_a_batch_that_failed_leaves_the_weights_as_they_were() -> None:
    layer = nn.Linear(4, 1)
    before = layer.weight.detach().clone()
    hook = Surgery()
    hook.start(layer, HookPlan(torch.ones(1, 4)))
    hook.before_batch(layer, Moment(0, 0.0, 1.0))
    assert not torch.equal(layer.weight, before)
    hook.detach(layer)
    assert torch.equal(layer.weight, before)
