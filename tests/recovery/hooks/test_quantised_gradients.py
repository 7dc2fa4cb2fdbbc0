"""Quantised gradients: few values, and right in the mean."""

from __future__ import annotations

import torch
from torch import nn

from automl.recovery.base import HookPlan
from automl.recovery.hooks.quantised_gradients import QuantizedGradients
from automl.testing import HookContract


class TestQuantisedGradients(HookContract):
    name = "quantised-gradients:bits=4"


def test_there_are_as_many_values_as_bits_give_and_the_mean_is_right() -> None:
    layer, found = nn.Linear(1, 200, bias=False), []
    hook = QuantizedGradients(bits=2)
    hook.start(layer, HookPlan(torch.ones(1, 1)))
    slope = torch.linspace(-1.0, 1.0, 200)
    for _ in range(300):
        layer.weight.grad = None
        (layer(torch.ones(1, 1)) * slope).sum().backward()
        assert layer.weight.grad is not None
        found.append(layer.weight.grad.flatten())
    assert len(found[0].mul(3).round().unique()) <= 4
    torch.testing.assert_close(torch.stack(found).mean(0), slope, rtol=0.0, atol=0.15)
    hook.detach(layer)
