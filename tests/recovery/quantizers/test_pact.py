"""The level is learned, by what it clips."""

from __future__ import annotations

import torch
from roundings import drawn, seen

from automl.recovery.quantizers.pact import ClippingLevel
from automl.testing import TrainedQuantizerContract


class TestPact(TrainedQuantizerContract):
    name = "pact"


def test_a_levels_gradient_is_the_sum_over_what_is_clipped() -> None:
    values = torch.tensor([-1.0, 0.2, 1.4, 1.6, 9.0], requires_grad=True)
    rounding = ClippingLevel(seen(values.detach()))  # up to 3 x 0.5
    rounding(values).backward(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert values.grad is not None
    assert rounding.level.grad is not None
    assert values.grad.tolist() == [0.0, 2.0, 4.0, 0.0, 0.0]
    assert float(rounding.level.grad) == 8 + 16


def test_a_level_that_clips_too_much_is_learned() -> None:
    values = drawn().clamp_min(0) * 4
    rounding = ClippingLevel(seen(values.flatten(), scale=0.1))
    optimiser = torch.optim.SGD(rounding.parameters(), 0.5)
    errors = []
    for _ in range(50):
        optimiser.zero_grad()
        error = (rounding(values) - values).square().mean()
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.2 * errors[0]
    assert rounding.frozen().scale > 0.3
