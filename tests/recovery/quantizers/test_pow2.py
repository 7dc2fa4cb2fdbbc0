"""Every weight is zero or a power of two."""

from __future__ import annotations

import pytest
import torch
from roundings import drawn, given

from automl.policy.policy import Bits
from automl.recovery.quantizers.pow2 import PowersOfTwo
from automl.testing import TrainedQuantizerContract


class TestPow2(TrainedQuantizerContract):
    name = "pow2"
    bits = Bits(4, 32)


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_all_weights_are_in_the_set_after_training(bits: int) -> None:
    dense = drawn().requires_grad_()
    rounding = PowersOfTwo().weights(given(dense.detach(), bits))
    optimiser = torch.optim.SGD([dense], 0.1)
    aim = drawn(seed=1)
    for _ in range(20):
        optimiser.zero_grad()
        (rounding(dense) - aim).square().sum().backward()
        optimiser.step()
    values, _ = rounding.frozen(dense.detach())
    exponents = values[values != 0].abs().log2()
    assert torch.equal(exponents, exponents.round())
    assert float(exponents.max() - exponents.min()) < 1 << (bits - 2)
    assert float((values - aim).square().mean()) < float((drawn() - aim).square().mean())


def test_other_bits_are_refused() -> None:
    for bits in (Bits(2, 32), Bits(4, 8)):
        assert "w4" in PowersOfTwo().refusal(bits)
