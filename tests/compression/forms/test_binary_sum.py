"""Sums of binary weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from automl.compression import fitted, matrix
from automl.compression.forms.binary_sum import BinarySum
from automl.compression.quantization.qparams import values
from automl.compression.quantization.rounding import output_error, quantized
from automl.network import Layer
from automl.policy import Bits
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestBinarySum(FormContract):
    name = "binary-sum"


def layer() -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(0)
    module = nn.Conv2d(12, 8, 3, padding=1)
    return module, moments_of(module)


def test_each_output_has_the_values_of_its_sums() -> None:
    module, moments = layer()
    for count, sizes in ((1, 1), (2, 2), (3, 4)):
        rows = fitted(BinarySum(), count, module, moments)[0].double()
        for row in rows:
            found = row.abs().unique().flip(0)
            assert len(found) == sizes
            if count == 3:
                first, second, third, fourth = found
                torch.testing.assert_close(
                    (first - second - third).abs(), fourth, rtol=1e-4, atol=1e-6
                )


def test_more_are_nearer_and_one_is_a_sign_with_a_scale() -> None:
    module, moments = layer()
    dense = matrix(module)
    errors = [
        float(output_error(dense, fitted(BinarySum(), count, module, moments), moments).sum())
        for count in (1, 2, 3)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]
    plain = values(*quantized(dense, moments, 1))
    assert errors[0] < 1.1 * float(output_error(dense, plain, moments).sum())
    blind = fitted(BinarySum(), 3, module, None)
    assert errors[2] < 0.7 * float(output_error(dense, blind, moments).sum())


def test_it_takes_a_bit_a_weight_for_each_and_says_what_is_none() -> None:
    bare = Layer("", "conv2d", 12, 8, (3, 3))
    assert [BinarySum().bytes(count, bare, Bits()) for count in (1, 2, 3)] == [
        count * (864 / 8 + 4 * 8) for count in (1, 2, 3)
    ]
    with pytest.raises(ValueError, match="no sums of 3 binary weights"):
        BinarySum().pack(3, torch.randn(1, 4, 12, 3, 3).double())
    for text in ("0", "4", "x", ""):
        with pytest.raises(ValueError, match="1 to 3"):
            BinarySum().read(text)
