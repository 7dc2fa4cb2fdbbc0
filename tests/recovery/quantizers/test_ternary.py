"""Three values by the threshold of the paper."""

from __future__ import annotations

import torch
from roundings import drawn, given

from automl.compression.quantization.qparams import QParams
from automl.policy.policy import Bits
from automl.recovery.quantizers.ternary import TernaryWeights
from automl.testing import TrainedQuantizerContract


class TestTernary(TrainedQuantizerContract):
    name = "ternary"
    bits = Bits(2, 32)


class TestWithIntegers(TrainedQuantizerContract):
    name = "ternary"
    bits = Bits(2, 4)


def test_zero_are_those_below_the_threshold_and_the_scale_is_the_mean_above() -> None:
    dense = drawn()
    values, known = TernaryWeights().weights(given(dense, 2)).frozen(dense)
    assert isinstance(known, QParams)
    for row, found, scale in zip(dense[0], values[0], known.scale[0], strict=True):
        above = row.abs() > 0.7 * row.abs().mean()
        assert torch.equal(found != 0, above)
        torch.testing.assert_close(scale[0], row.abs()[above].mean())
        assert torch.equal(found.sign()[above], row.sign()[above])


def test_one_scale_where_the_target_has_one() -> None:
    dense = drawn()
    _, known = TernaryWeights().weights(given(dense, 2, 8, shared=True)).frozen(dense)
    assert isinstance(known, QParams)
    assert len(known.scale.unique()) == 1


def test_other_bits_are_refused() -> None:
    assert "w2" in TernaryWeights().refusal(Bits(8, 8))
