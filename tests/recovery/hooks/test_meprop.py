"""meProp: an image's largest gradients alone are kept."""

from __future__ import annotations

import torch
from torch import nn

from automl.recovery.base import HookPlan
from automl.recovery.hooks.meprop import MeProp
from automl.testing import HookContract


class TestMeProp(HookContract):
    name = "meprop"


def test_as_many_numbers_as_asked_for_go_backwards() -> None:
    layer = nn.Linear(3, 10)
    hook = MeProp(share=0.2)
    hook.start(layer, HookPlan(torch.ones(1, 3)))
    images = torch.ones(1, 3)
    (layer(images) * torch.arange(-4.0, 6.0)).sum().backward()
    assert layer.weight.grad is not None
    kept = layer.weight.grad.abs().sum(1) != 0
    assert kept.tolist() == [True] + [False] * 8 + [True]
    hook.detach(layer)
    layer.weight.grad = None
    (layer(images) * torch.arange(-4.0, 6.0)).sum().backward()
    assert int((layer.weight.grad.abs().sum(1) != 0).sum()) == 9  # type: ignore[attr-defined]
