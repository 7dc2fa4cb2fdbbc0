"""Chances of few values, whose mean and variance are those of the draw."""

from __future__ import annotations

import pytest
import torch
from roundings import drawn, given

from automl.policy.policy import Bits
from automl.recovery.quantizers.lr_net import Chances, DiscreteWeights
from automl.testing import TrainedQuantizerContract


class TestThreeValues(TrainedQuantizerContract):
    name = "lr-net"
    bits = Bits(2, 32)


class TestTwoValues(TrainedQuantizerContract):
    name = "lr-net"
    bits = Bits(1, 32)


@pytest.mark.parametrize("bits", [1, 2])
def test_mean_and_variance_are_those_of_the_distribution(bits: int) -> None:
    dense = drawn()
    rounding = DiscreteWeights().weights(given(dense, bits)).train()
    assert isinstance(rounding, Chances)
    above = rounding.above.sigmoid()
    present = torch.ones_like(above) if rounding.present is None else rounding.present.sigmoid()
    generator = torch.Generator().manual_seed(0)
    sums, squares, count = torch.zeros_like(dense), torch.zeros_like(dense), 20_000
    for _ in range(count):
        signs = torch.where(torch.rand(dense.shape, generator=generator) < above, 1.0, -1.0)
        values = signs * (torch.rand(dense.shape, generator=generator) < present)
        sums, squares = sums + values.detach(), squares + values.detach().square()
    mean = sums / count
    scale = rounding.length.detach()
    torch.testing.assert_close(rounding(dense).detach(), mean * scale, atol=0.05, rtol=0.05)
    spread = (squares / count - mean.square()) * scale.square()
    torch.testing.assert_close(rounding.variance(dense).detach(), spread, atol=0.05, rtol=0.05)


def test_the_likeliest_values_are_exported() -> None:
    dense = drawn()
    rounding = DiscreteWeights().weights(given(dense, 2))
    assert isinstance(rounding, Chances)
    with torch.no_grad():
        assert rounding.present is not None
        rounding.present.fill_(-9)
        rounding.present[0, 0] = 9
    values, _ = rounding.frozen(dense)
    assert (values[0, 0] != 0).all()
    assert not values[0, 1:].any()


def test_integers_are_refused() -> None:
    assert "w1 or w2" in DiscreteWeights().refusal(Bits(2, 8))
