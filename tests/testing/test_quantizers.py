"""The contract of quantizers finds out what does not hold to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.nearest import Nearest
from automl.compression.quantization.qparams import QParams
from automl.policy.policy import Bits
from automl.testing.quantizers import QuantizerContract

Found = tuple[Tensor, QParams | Codebook]


class Contract(QuantizerContract):
    name = "nearest"

    def __init__(self, quantizer: type[Quantizer]) -> None:
        self.quantizer = quantizer

    def make(self) -> Quantizer:
        return self.quantizer()


class Floating(Nearest):
    """Rounds nothing."""

    def round(self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True) -> Found:
        return weights, super().round(weights, moments, bits)[1]


class Wasteful(Nearest):
    """The more bits, the worse."""

    def round(self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True) -> Found:
        return super().round(weights, moments, Bits(10 - bits.weights, bits.activations))


class Careless(Nearest):
    """Writes into what it is given."""

    def round(self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True) -> Found:
        found = super().round(weights, moments, bits)
        weights.copy_(found[0])
        return found


class Endless(Nearest):
    """Outputs of no weight become no numbers."""

    def round(self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True) -> Found:
        values, store = super().round(weights, moments, bits)
        none = ~weights.any(2, keepdim=True)
        return torch.where(none, torch.nan, values), store


@pytest.mark.parametrize(
    ("quantizer", "promise"),
    [
        (Floating, "test_integers_stand_on_a_grid_of_their_bits"),
        (Floating, "test_weights_alone_stand_in_a_codebook"),
        (Wasteful, "test_more_bits_lose_less"),
        (Careless, "test_the_same_weights_give_the_same_and_stay_as_they_are"),
        (Endless, "test_an_output_that_reads_nothing_stays_finite"),
    ],
)
def test_what_breaks_a_promise_is_found_out(quantizer: type[Quantizer], promise: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(quantizer), promise)()
