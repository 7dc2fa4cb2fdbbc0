"""Weights of three values, with one scale an output channel."""

from __future__ import annotations

import torch

from automl.compression import QParams
from automl.policy import Bits
from automl.recovery.base import GivenWeights, WeightRounding
from automl.recovery.quantizers.fitting import scaled_codes
from automl.recovery.quantizers.lsq import LearnedSteps
from automl.recovery.quantizers.steps import LEAST, mean_size, straight

Tensor = torch.Tensor
#: Of the mean magnitude: weights below are zero (equation 6).
_SHARE = 0.7


class TernaryWeights(LearnedSteps):
    """Ternary weight networks (Li et al., 2016, section 2).

    A weight below 0.7 of the mean magnitude is zero, the others have the mean magnitude of those
    that are above, with their sign; both means are taken anew in each step, and gradients go
    straight through. Differs: means are an output channel's, where the paper has a layer's, for
    norms may be folded; training begins with integers of calibration, or those of second-order
    rounding where it chose a codebook. Activations with bits are those of `lsq`.
    """

    by_channel = True

    def refusal(self, bits: Bits) -> str:
        """Layers of other than 2 bits."""
        return "" if bits.weights == 2 else "three values are 2 bits: w2 or w2a4"

    def weights(self, given: GivenWeights) -> WeightRounding:
        """-1, 0 and 1 with a scale."""
        return ThreeValues(given)


class ThreeValues(WeightRounding):
    """-1, 0 and 1 times the mean magnitude of those that are not zero."""

    def __init__(self, given: GivenWeights) -> None:
        super().__init__(given.seed)
        self._shared = given.shared

    def begin(self, given: GivenWeights) -> Tensor:
        """Three values: those that are given, or what fits the layer where it stands on others."""
        if isinstance(given.known, QParams) and given.aim is None:
            return given.weights
        codes, scale = scaled_codes(given, torch.tensor([-1.0, 0.0, 1.0]))
        return codes * scale

    def forward(self, weights: Tensor) -> Tensor:
        """The three values; gradients go straight through."""
        with torch.no_grad():
            codes, scale = self._found(weights)
        return straight(weights, codes * scale)

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams]:
        """Integers with their scales."""
        codes, scale = self._found(weights.cpu())
        return codes * scale, QParams(scale.contiguous(), 2)

    def _found(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Integers, and their scales [runs, outputs, 1]."""
        counted = weights.abs() > _SHARE * mean_size(weights, shared=self._shared)
        scale = mean_size(weights, counted, shared=self._shared).clamp_min(LEAST)
        return weights.sign() * counted, scale
