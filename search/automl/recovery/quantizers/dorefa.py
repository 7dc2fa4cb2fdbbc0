"""Weights squashed by a tanh into all levels of their bits, activations clipped where they were."""

from __future__ import annotations

import torch
from torch import nn

from automl.compression import ActivationQParams, Codebook, QParams
from automl.policy import Bits
from automl.recovery.base import (
    ActivationRounding,
    GivenActivations,
    GivenWeights,
    TrainedQuantizer,
    WeightRounding,
)
from automl.recovery.quantizers.centroids import TrainedCentroids
from automl.recovery.quantizers.fitting import scaled_codes
from automl.recovery.quantizers.steps import LEAST, share_of, softened, straight

Tensor = torch.Tensor


class Squashed(TrainedQuantizer):
    """DoReFa-Net (Zhou et al., 2016, sections 2.2 and 2.3); gradients are not rounded.

    A weight becomes tanh(w) over the layer's largest, and that one of 2^k levels from -1 to 1;
    activations are clipped to a fixed range. Differs: norms are folded, so an output channel has
    a range of its own inside the tanh, and a scale that is trained in the norm's place; the range
    of activations is that of calibration, where the paper has 0 to 1. Training begins on the levels
    that second-order rounding finds, with the numbers that the tanh takes there. The levels have no
    zero: they are odd integers, of at most 7 bits. Of weights alone, the shared values are trained.
    """

    def refusal(self, bits: Bits) -> str:
        """Layers of 8 bits: their 256 levels are no bytes."""
        return "2^8 levels without a zero are no bytes: up to 7 bits" if bits.weights == 8 else ""

    def weights(self, given: GivenWeights) -> WeightRounding:
        """Odd integers with a scale, or shared values."""
        if isinstance(given.known, Codebook):
            return TrainedCentroids(given, given.known)
        return SquashedWeights(given, given.known)

    def activations(self, given: GivenActivations) -> ActivationRounding:
        """The integers of calibration, with straight gradients inside their range."""
        return ClippedActivations(given)


class SquashedWeights(WeightRounding):
    """2^k levels from -1 to 1 of a tanh, times a scale that is trained."""

    def __init__(self, given: GivenWeights, known: QParams) -> None:
        super().__init__(given.seed)
        self._known = known
        levels = torch.arange(-self._top, self._top + 1, 2.0)
        codes, scale = scaled_codes(given, levels)
        self._first = _reaching(codes, given.wanted, self._top)
        self.scale = nn.Parameter(scale)
        self._range: Tensor
        self.register_buffer("_range", scale * self._top)

    def begin(self, given: GivenWeights) -> Tensor:
        """What the tanh makes the integers of."""
        shares = self._first / self._top
        return (shares * torch.ones(()).tanh()).atanh() * self._range

    def forward(self, weights: Tensor) -> Tensor:
        """The nearest level; gradients go straight through the rounding, and through the tanh."""
        squashed = self._squashed(weights) * self._top
        scale = softened(self.scale, share_of(weights, self.scale, self._top)).clamp_min(LEAST)
        return straight(squashed, self._codes(weights)) * scale

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams]:
        """Odd integers with their scales."""
        scale = self.scale.detach().clamp_min(LEAST).cpu().expand_as(self._known.scale).contiguous()
        values = self._codes(weights.to(self._range)).cpu() * scale
        return values, QParams(scale, self._known.bits, True)

    @property
    def _top(self) -> int:
        return (1 << self._known.bits) - 1

    def _squashed(self, weights: Tensor) -> Tensor:
        """From -1 to 1."""
        found = (weights / self._range).tanh()
        largest = found.detach().abs().max()
        return found / largest.clamp_min(LEAST)

    @torch.no_grad()
    def _codes(self, weights: Tensor) -> Tensor:
        """Odd integers."""
        levels = (self._top * (self._squashed(weights) / 2 + 0.5)).round().clamp(0, self._top)
        return 2 * levels - self._top


def _reaching(codes: Tensor, wanted: Tensor, top: int) -> Tensor:
    """Codes of which one at least is the largest: the tanh is divided by the layer's largest."""
    if codes.abs().max() == top:
        return codes
    place = (codes * wanted).flatten().argmax()
    reaching = codes.flatten().clone()
    reaching[place] = reaching[place].sign() * top
    return reaching.view_as(codes)


class ClippedActivations(ActivationRounding):
    """Integers of a range that stays; gradients go straight through inside it."""

    def __init__(self, given: GivenActivations) -> None:
        super().__init__(given.seed)
        self._known, self._levels = given.known, given.levels

    def forward(self, values: Tensor) -> Tensor:
        """The nearest integers times the step."""
        step, levels = self._known.scale, self._levels
        inside = values.clamp(levels.low * step, levels.high * step)
        return straight(inside, levels.nearest(values.detach() / step) * step)

    def frozen(self) -> ActivationQParams:
        """As calibration has them."""
        return self._known
