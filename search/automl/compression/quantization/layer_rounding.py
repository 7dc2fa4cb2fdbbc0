"""One layer's weights under its choice of bits: integers or a codebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from automl.compression.quantization.activation_ranges import How
from automl.compression.quantization.codebook import Codebook, codebook
from automl.compression.quantization.qparams import QParams, round_to, values, weight_qparams
from automl.compression.quantization.rounding import quantized, round_to_codebook, round_weights
from automl.network import FLOAT_BITS
from automl.policy import Bits

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class RoundingSettings:
    """Knobs of rounding; the defaults are what is best (docs/bits.md has the comparison).

    Attributes:
        second_order: Whether a column's error is compensated by those after it, or each weight is
            rounded to its nearest.
        refine: Whether, after that, scales are fitted and each column rounded once more given all
            others; twice the time for less than the second order brings.
        correct_bias: Whether the bias takes out the mean error of the outputs.
        ranges: How the ranges of activations are found.
    """

    second_order: bool = True
    refine: bool = True
    correct_bias: bool = True
    ranges: How = "mse"


DEFAULT_ROUNDING: Final = RoundingSettings()
#: Of candidates in a search.
QUICK_ROUNDING: Final = RoundingSettings(refine=False)


def round_layer(
    weights: Tensor, moments: Tensor, bits: Bits, settings: RoundingSettings
) -> tuple[Tensor, QParams | Codebook]:
    """Weights as their bits allow, [runs, outputs, columns], and what they stand on.

    Integers where the layer's activations are rounded too; else, for size alone, a codebook.

    Args:
        weights: [runs, outputs, columns].
        moments: Of what the layer reads, with the ones: [runs, columns + 1, columns + 1].
        bits: Of the layer; those of the weights at most 8.
        settings: Knobs.
    """
    if bits.activations >= FLOAT_BITS:
        book = codebook(weights, bits.weights, moments=moments)
        if settings.second_order:
            book = round_to_codebook(weights, moments, book)
        return book.values(), book
    if settings.second_order and settings.refine:
        integers, qparams = quantized(weights, moments, bits.weights)
        return values(integers, qparams), qparams
    qparams = weight_qparams(weights, bits.weights, moments=moments)
    if settings.second_order:
        integers = round_weights(weights, moments, qparams)
    else:
        integers = round_to(weights, qparams)
    return values(integers, qparams), qparams
