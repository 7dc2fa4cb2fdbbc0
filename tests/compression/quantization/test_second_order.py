"""Second-order rounding loses less than rounding to the nearest, refined yet less."""

from __future__ import annotations

import pytest
import torch

from automl.compression.quantization.nearest import Nearest
from automl.compression.quantization.rounding import output_error
from automl.compression.quantization.second_order import SecondOrder
from automl.policy.policy import Bits
from automl.testing.quantizers import QuantizerContract


class TestSecondOrder(QuantizerContract):
    name = "second-order"


@pytest.mark.parametrize("bits", [Bits(2, 8), Bits(4, 8), Bits(2, 32), Bits(4, 32)])
def test_less_is_lost_than_by_rounding_to_the_nearest(bits: Bits) -> None:
    generator = torch.Generator().manual_seed(5)
    mixed = torch.randn(24, 24, generator=generator)
    rows = torch.cat([torch.randn(300, 24, generator=generator) @ mixed, torch.ones(300, 1)], 1)
    moments = (rows.T @ rows).double()[None] / 300
    weights = torch.randn(1, 8, 24, generator=generator)

    def lost(values: torch.Tensor) -> float:
        return float(output_error(weights, values, moments).sum())

    nearest = lost(Nearest().round(weights, moments, bits)[0])
    quick = lost(SecondOrder().round(weights, moments, bits, refine=False)[0])
    fine = lost(SecondOrder().round(weights, moments, bits)[0])
    assert quick < nearest
    assert fine < quick if bits.activations == 8 else fine == quick
