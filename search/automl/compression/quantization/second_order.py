"""Second-order rounding: errors are compensated by the columns that are not rounded yet.

Source: Frantar & Alistarh 2022 (Optimal Brain Compression); `rounding` says what differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from automl.compression.quantization.activation_ranges import How
from automl.compression.quantization.codebook import Codebook, codebook
from automl.compression.quantization.qparams import QParams, values, weight_qparams
from automl.compression.quantization.rounding import quantized, round_to_codebook, round_weights
from automl.policy import Bits, is_float

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class SecondOrder:
    """Rounds each column and lets those after it compensate; docs/bits.md has the comparison.

    Attributes:
        correct_bias: Whether the bias takes out the mean error of the outputs.
        ranges: How the ranges of activations are found.
    """

    correct_bias: bool = True
    ranges: How = "mse"

    def round(
        self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True
    ) -> tuple[Tensor, QParams | Codebook]:
        """As `Quantizer.round`; refining takes twice the time for less than the rest brings."""
        if is_float(bits):
            book = codebook(weights, bits.weights, moments=moments)
            book = round_to_codebook(weights, moments, book)
            return book.values(), book
        if refine:
            integers, qparams = quantized(weights, moments, bits.weights)
        else:
            qparams = weight_qparams(weights, bits.weights, moments=moments)
            integers = round_weights(weights, moments, qparams)
        return values(integers, qparams), qparams
