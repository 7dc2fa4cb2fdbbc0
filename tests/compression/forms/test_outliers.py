"""Few large weights as they are, the others in few bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from automl.compression import fitted, matrix
from automl.compression.forms.outliers import Outliers
from automl.compression.quantization.qparams import values
from automl.compression.quantization.rounding import output_error, quantized
from automl.network import Layer
from automl.policy import Bits
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestOutliers(FormContract):
    name = "outliers"


def heavy() -> tuple[nn.Conv2d, Tensor]:
    """A convolution of which few weights are far larger than the others."""
    torch.manual_seed(0)
    module = nn.Conv2d(12, 8, 3, padding=1)
    with torch.no_grad():
        module.weight.view(-1)[torch.randperm(864)[:8]] *= 8.0
    return module, moments_of(module)


def test_the_others_have_few_values_and_the_large_ones_their_own() -> None:
    module, moments = heavy()
    rows = fitted(Outliers(), (3, 1), module, moments)[0]
    for row in rows:
        size = row.abs().sort(descending=True).values
        steps = size[2:].unique()
        steps = steps[steps > 0]
        assert len(steps) <= 3  # -3 to 3 times a scale
        ratio = steps / (steps.max() / 3)
        torch.testing.assert_close(ratio, ratio.round(), rtol=1e-4, atol=1e-4)
        assert size[1] >= size[2]


def test_three_bits_and_one_percent_lose_less_than_four_bits_where_few_are_large() -> None:
    module, moments = heavy()
    dense = matrix(module)
    found = fitted(Outliers(), (3, 1), module, moments)
    plain = [values(*quantized(dense, moments, bits)) for bits in (3, 4)]
    three, four = (float(output_error(dense, each, moments).sum()) for each in plain)
    own = float(output_error(dense, found, moments).sum())
    assert own < 0.8 * four < three
    layer = Layer("", "conv2d", 12, 8, (3, 3))
    size = Outliers().bytes((3, 1), layer, Bits())
    assert size == 864 * 3 / 8 + 4 * 8 + 16 * 7 / 8 + 4 * 16


def test_what_is_read_counts() -> None:
    module, moments = heavy()
    dense = matrix(module)
    aware, blind = (
        float(output_error(dense, fitted(Outliers(), (2, 1), module, each), moments).sum())
        for each in (moments, None)
    )
    assert aware < 0.7 * blind


def test_other_texts_and_weights_are_refused() -> None:
    for text in ("3", "5-1", "3-0", "3-21", "3-1-1"):
        with pytest.raises(ValueError, match="write 3-1"):
            Outliers().read(text)
    with pytest.raises(ValueError, match="no weights of outliers 3-1"):
        Outliers().pack((3, 1), torch.randn(1, 4, 12, 3, 3).double())
