"""Rounding to the nearest: what second-order rounding is held against."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from automl.compression.quantization.activation_ranges import How
from automl.compression.quantization.codebook import Codebook, codebook
from automl.compression.quantization.qparams import QParams, round_to, values, weight_qparams
from automl.policy import Bits, is_float

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rounds each weight to its nearest.

    Attributes:
        correct_bias: Whether the bias takes out the mean error of the outputs.
        ranges: How the ranges of activations are found.
    """

    correct_bias: bool = True
    ranges: How = "mse"

    def round(
        self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True
    ) -> tuple[Tensor, QParams | Codebook]:
        """As `Quantizer.round`; there is nothing to refine."""
        if is_float(bits):
            book = codebook(weights, bits.weights, moments=moments)
            return book.values(), book
        qparams = weight_qparams(weights, bits.weights, moments=moments)
        return values(round_to(weights, qparams), qparams), qparams
