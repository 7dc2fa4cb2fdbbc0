"""The error of rounding counts beside the loss."""

from __future__ import annotations

import pytest
import torch
from roundings import drawn, given

from automl.errors import UsageError
from automl.policy.policy import Bits
from automl.recovery.quantizers.elq import LossErrorAware
from automl.recovery.quantizers.ternary import TernaryWeights
from automl.testing import TrainedQuantizerContract


class TestElq(TrainedQuantizerContract):
    name = "elq"
    bits = Bits(2, 32)


def test_weights_are_pulled_to_what_they_are_rounded_to() -> None:
    dense = drawn().requires_grad_()
    slope = drawn(seed=1)
    rounding = LossErrorAware(0.5).weights(given(dense.detach(), 2))
    values = rounding(dense)
    values.backward(slope)
    assert dense.grad is not None
    pull, gap = dense.grad - slope, (dense - values).detach()
    torch.testing.assert_close(pull.norm(), 0.5 * slope.norm())
    assert float(torch.cosine_similarity(pull.flatten(), gap.flatten(), 0)) > 0.999


def test_the_error_of_rounding_falls_where_the_plain_one_stays() -> None:
    errors = {}
    for quantizer in (TernaryWeights(), LossErrorAware(1)):
        dense = drawn().requires_grad_()
        rounding = quantizer.weights(given(dense.detach(), 2))
        optimiser = torch.optim.SGD([dense], 0.01)
        for step in range(100):
            optimiser.zero_grad()
            rounding(dense).backward(drawn(seed=step + 2))
            optimiser.step()
        gap = dense.detach() - rounding(dense).detach()
        errors[type(quantizer)] = float(gap.square().mean() / dense.detach().square().mean())
    assert errors[LossErrorAware] < 0.8 * errors[TernaryWeights]


def test_a_pull_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="above 0 and up to 10, found -1"):
        LossErrorAware(-1)
