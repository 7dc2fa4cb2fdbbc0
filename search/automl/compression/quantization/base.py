"""What a quantizer is: it rounds the weights of one layer to the bits that were chosen for it."""

from __future__ import annotations

from typing import Protocol

import torch

from automl.compression.quantization.activation_ranges import How
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.qparams import QParams
from automl.policy import Bits

Tensor = torch.Tensor


class Quantizer(Protocol):
    """Rounds weights, and says how the ranges of activations are found."""

    @property
    def ranges(self) -> How:
        """How the ranges of activations are found."""
        ...

    @property
    def correct_bias(self) -> bool:
        """Whether the bias takes out the mean error of the outputs."""
        ...

    def round(
        self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True
    ) -> tuple[Tensor, QParams | Codebook]:
        """Weights as their bits allow, [runs, outputs, columns], and what they stand on.

        Integers where the layer's activations are rounded too; else, for size alone, a codebook.
        The same arguments give the same weights.

        Args:
            weights: [runs, outputs, columns]; not to be changed.
            moments: Of what the layer reads, with the ones: [runs, columns + 1, columns + 1].
            bits: Of the layer; those of the weights at most 8.
            refine: Whether to take the time for the best; False for candidates in a search.
        """
        ...
