"""Weights that are drawn from few values, whose chances are trained."""

from __future__ import annotations

import torch
from torch import nn

from automl.compression import QParams
from automl.policy import Bits, is_float
from automl.recovery.base import GivenWeights, WeightRounding
from automl.recovery.quantizers.fitting import scaled_codes
from automl.recovery.quantizers.lsq import LearnedSteps
from automl.recovery.quantizers.steps import LEAST, mean_size

Tensor = torch.Tensor
#: Chances at the start are no nearer to 0 and 1 (section 4).
_LEAST_CHANCE = 0.05
#: Magnitudes, in twice their mean, from which on a value is the likeliest, and up to which zero is.
_LIKELY, _RARE = 0.6, 0.4


class DiscreteWeights(LearnedSteps):
    """LR-Net (Shayer et al., 2018): a distribution over -1, 0 and 1 for each weight, or -1 and 1.

    In training a layer's outputs are drawn, from the normal distribution that their means and
    variances give (local reparametrisation), so that gradients reach the chances. Afterwards each
    weight is its likeliest value. Differs: the likeliest at the start are what second-order
    rounding finds, with the chances of the dense magnitudes where these agree; an output channel
    has a scale that is trained; the likeliest values are taken, where the paper draws and takes the
    best of some; no pull on the chances. A layer whose activations are rounded is refused: sums of
    integers are not drawn.
    """

    by_channel = True

    def refusal(self, bits: Bits) -> str:
        """Layers of other bits than 1 or 2 of weights alone."""
        fits = bits.weights <= 2 and is_float(bits)
        return "" if fits else "few values that are drawn are weights alone: w1 or w2"

    def weights(self, given: GivenWeights) -> WeightRounding:
        """Chances of two or three values, with a scale."""
        return Chances(given)


class Chances(WeightRounding):
    """Chances of -1, 0 and 1, or of -1 and 1."""

    reads_numbers = False

    def __init__(self, given: GivenWeights) -> None:
        super().__init__(given.seed)
        self._bits = given.bits.weights
        several = self._bits > 1
        levels = torch.tensor([-1.0, 0.0, 1.0] if several else [-1.0, 1.0])
        codes, scale = scaled_codes(given, levels)
        units = (given.wanted / (2 * mean_size(given.wanted)).clamp_min(LEAST)).clamp(-1, 1).abs()
        rare = units.clamp_max(_RARE) * given.wanted.sign()
        units = torch.where(codes == 0, rare, units.clamp_min(_LIKELY) * codes)
        low, high = _LEAST_CHANCE, 1 - _LEAST_CHANCE
        present = low + (high - low) * units.abs() if several else torch.ones_like(units)
        above = (0.5 * (1 + units / present)).clamp(low, high)
        self.above = nn.Parameter(above.logit())
        #: Of being none of zero; of one bit there is no zero.
        self.present = nn.Parameter(present.clamp(low, high).logit()) if several else None
        self.length = nn.Parameter(scale.expand(*codes.shape[:2], 1).clamp_min(LEAST).clone())

    def forward(self, weights: Tensor) -> Tensor:
        """What the weights are on average; in evaluation mode the likeliest values."""
        scale = self.length.clamp_min(LEAST)
        return (self._mean() if self.training else self._likeliest()) * scale

    def variance(self, weights: Tensor) -> Tensor:
        """Of each weight."""
        chance = 1.0 if self.present is None else self.present.sigmoid()
        return (chance - self._mean().square()) * self.length.clamp_min(LEAST).square()

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams]:
        """The likeliest values with their scales."""
        scale = self.length.detach().clamp_min(LEAST).cpu().contiguous()
        return self._likeliest().cpu() * scale, QParams(scale, self._bits)

    def _mean(self) -> Tensor:
        signed = 2 * self.above.sigmoid() - 1
        return signed if self.present is None else signed * self.present.sigmoid()

    @torch.no_grad()
    def _likeliest(self) -> Tensor:
        """The most likely of the values."""
        signs = torch.where(self.above < 0, -1.0, 1.0)
        if self.present is None:
            return signs
        larger = torch.maximum(self.above, -self.above).sigmoid() * self.present.sigmoid()
        return signs * (larger > 1 - self.present.sigmoid())
