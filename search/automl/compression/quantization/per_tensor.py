"""One scale for all weights of a layer: for accelerators that know no scale an output channel.

Source: Nagel et al. 2019 (Data-Free Quantization), whose networks are quantised so. Differs:
rounding is second order, the one scale is searched and fitted as those of channels are, and biases
are corrected by the measured mean of what a layer reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from automl.compression.quantization.activation_ranges import How
from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.equalising import equalised
from automl.compression.quantization.nearest import Nearest
from automl.compression.quantization.qparams import QParams, round_to, values, weight_qparams
from automl.compression.quantization.rounding import quantized, round_weights
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.quantization.simulation import is_per_tensor
from automl.errors import QuantizationError
from automl.network import TracedModel
from automl.policy import Bits, is_float

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class PerTensor:
    """Rounds the weights of a layer with one scale; codebooks are of whole layers as they are.

    Attributes:
        equalise: Whether channels of layers that follow each other are scaled alike first
            (`equalising`), before anything is measured on the network.
        nearest: Whether each weight is rounded to its nearest, in place of second order.
        correct_bias: Whether the bias takes out the mean error of the outputs.
        ranges: How the ranges of activations are found.
    """

    equalise: bool = True
    nearest: bool = False
    correct_bias: bool = True
    ranges: How = "mse"

    def round(
        self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True
    ) -> tuple[Tensor, QParams | Codebook]:
        """As `Quantizer.round`: the scales of the QParams are all the same."""
        if is_float(bits):
            plain = Nearest() if self.nearest else SecondOrder()
            return plain.round(weights, moments, bits, refine=refine)
        if refine and not self.nearest:
            integers, qparams = quantized(weights, moments, bits.weights, per_tensor=True)
        else:
            qparams = weight_qparams(weights, bits.weights, moments=moments, per_tensor=True)
            integers = (
                round_to(weights, qparams)
                if self.nearest
                else round_weights(weights, moments, qparams)
            )
        return values(integers, qparams), qparams


def made_ready(traced: TracedModel, quantizer: Quantizer) -> TracedModel:
    """The network as it is best rounded: with channels scaled alike where a layer has one scale."""
    if isinstance(quantizer, PerTensor) and quantizer.equalise:
        return equalised(traced)
    return traced


def quantizer_for(quantizer: Quantizer, scheme: str | None) -> Quantizer:
    """The quantizer as a target's scheme allows it: with one scale a layer where it has no more.

    Args:
        quantizer: As it was asked for.
        scheme: Of the target's table, one of `SCHEMES`.

    Raises:
        QuantizationError: A quantizer of another package whose scales cannot be made one.
    """
    if not is_per_tensor(scheme) or isinstance(quantizer, PerTensor):
        return quantizer
    if not isinstance(quantizer, SecondOrder | Nearest):
        raise QuantizationError(
            f"the target's weights have one scale a layer ({scheme}), and"
            f" {type(quantizer).__name__} has one a channel: per-tensor rounds for it"
        )
    return PerTensor(
        nearest=isinstance(quantizer, Nearest),
        correct_bias=quantizer.correct_bias,
        ranges=quantizer.ranges,
    )
