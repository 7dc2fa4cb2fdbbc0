"""Integers are drawn while training, rounded to nearest afterwards."""

from __future__ import annotations

import pytest
import torch
from roundings import seen

from automl.errors import UsageError
from automl.recovery.quantizers.relaxed import RelaxedActivations, RelaxedRounding
from automl.testing import TrainedQuantizerContract


class TestRelaxed(TrainedQuantizerContract):
    name = "relaxed"


def test_at_a_low_temperature_integers_are_drawn_by_their_distance() -> None:
    values = torch.full((4000,), 0.75)  # one and a half steps
    rounding = RelaxedActivations(seen(values, high=15), 0.01).train()
    found = (rounding(values).detach() / 0.5).round()
    shares = [float((found == integer).float().mean()) for integer in (1, 2)]
    assert shares[0] == pytest.approx(shares[1], abs=0.05)
    assert sum(shares) > 0.8


def test_noise_and_step_are_learned() -> None:
    values = torch.linspace(0, 1.5, 64, requires_grad=True)
    rounding = RelaxedActivations(seen(values.detach()), 1.0).train()
    rounding(values).square().sum().backward()
    for each in (rounding.step, rounding.noise, values):
        assert each.grad is not None
        assert each.grad.abs().max() > 0


def test_a_temperature_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="temperature above 0 and up to 10, found 0"):
        RelaxedRounding(0)
