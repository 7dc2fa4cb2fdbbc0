"""Stretches of weights that all outputs share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from automl.compression import fitted, matrix
from automl.compression.forms.pq import ProductQuantised
from automl.compression.quantization.codebook import codebook
from automl.compression.quantization.rounding import output_error, round_to_codebook
from automl.network import Layer
from automl.policy import Bits
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestProductQuantised(FormContract):
    name = "pq"


def layer(outputs: int = 16) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(0)
    module = nn.Conv2d(16, outputs, 3, padding=1)
    return module, moments_of(module)


def test_stretches_are_few() -> None:
    module, moments = layer()
    found = fitted(ProductQuantised(), (4, 4), module, moments)
    assert len(found.view(-1, 4).unique(dim=0)) == 16


def test_at_equal_bytes_it_is_nearer_than_shared_values_below_two_bits() -> None:
    module, moments = layer(64)
    kinds = torch.randn(12, 6)[torch.randint(12, (64 * 24,))]
    with torch.no_grad():
        module.weight.copy_((kinds + 0.2 * torch.randn(64 * 24, 6)).view(64, 16, 3, 3))
    dense, bare = matrix(module), Layer("", "conv2d", 16, 64, (3, 3))
    scalar = round_to_codebook(dense, moments, codebook(dense, 1, moments=moments))
    size = 16 * 64 * 9 / 8 + 4 * 2
    form = ProductQuantised()
    assert form.bytes((6, 4), bare, Bits()) <= size
    found = fitted(form, (6, 4), module, moments)
    own, other = (output_error(dense, each, moments).sum() for each in (found, scalar.values()))
    assert own < other


def test_what_is_read_counts_and_more_stretches_are_nearer() -> None:
    module, moments = layer()
    dense, form = matrix(module), ProductQuantised()

    def error(parameter: tuple[int, int], known: Tensor | None) -> float:
        found = fitted(form, parameter, module, known)
        return float(output_error(dense, found, moments).sum())

    errors = [error((4, bits), moments) for bits in (2, 4, 6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.95 * error((4, 4), None)


@pytest.mark.parametrize("length", [4, 7, 100])
def test_the_last_of_an_output_may_be_shorter(length: int) -> None:
    """And is packed as the beginning of one."""
    module, moments = layer()
    kernel = fitted(ProductQuantised(), (length, 3), module, moments).double()
    kernel = kernel.view(1, 16, 16, 3, 3)[:, :, :5]  # as if channels were cut: 45 weights
    module = nn.Conv2d(5, 16, 3)
    with torch.no_grad():
        module.weight.copy_(kernel[0])
    found = fitted(ProductQuantised(), (length, 3), module, moments_of(module)).double()
    kernel = found.view(1, 16, 5, 3, 3)
    parts = ProductQuantised().pack((length, 3), kernel)
    again = ProductQuantised().unpack((length, 3), [each.values for each in parts], kernel.shape)
    torch.testing.assert_close(again, kernel)
    told = ProductQuantised().bytes((length, 3), Layer("", "conv2d", 5, 16, (3, 3)), Bits())
    numbers, index = parts
    assert told == 4 * numbers.values.numel() + -(-3 * index.values.numel() // 8)


def test_other_texts_and_weights_are_refused() -> None:
    for text in ("4", "1-4", "4-13", "4-0", "100-4"):
        with pytest.raises(ValueError, match="write 4-6"):
            ProductQuantised().read(text)
    with pytest.raises(ValueError, match="are more than 16"):
        ProductQuantised().pack((4, 4), torch.randn(1, 4, 12, 3, 3).double())
    assert "no 8" in ProductQuantised().refusal((8, 4), Layer("", "linear", 4, 9))
