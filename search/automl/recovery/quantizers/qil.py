"""Weights of an interval that is trained: below it they are pruned, above it clipped."""

from __future__ import annotations

import torch
from torch import nn

from automl.compression import Codebook, QParams
from automl.recovery.base import GivenWeights, WeightRounding
from automl.recovery.quantizers.centroids import TrainedCentroids
from automl.recovery.quantizers.lsq import LearnedSteps, levels_of
from automl.recovery.quantizers.steps import LEAST, share_of, softened, straight

Tensor = torch.Tensor


class TrainedIntervals(LearnedSteps):
    """Quantization Interval Learning (Jung et al., 2019, section 3).

    Magnitudes between two ends are spread over the integers; those below are zero, those above the
    largest integer. Both ends are trained with the loss of the task. Differs: an output channel
    has its own ends and its own size of an integer, trained in the place of the norm that is
    folded; the exponent of the spread stays 1. The lower end of activations stays at zero: with
    another, what is read has another step than what is written, which no exported integers have.
    Their upper end is trained, with the gradients of `lsq`.
    """

    def weights(self, given: GivenWeights) -> WeightRounding:
        """Integers of an interval, or shared values."""
        if isinstance(given.known, Codebook):
            return TrainedCentroids(given, given.known)
        return Interval(given, given.known) if given.bits.weights > 1 else super().weights(given)


class Interval(WeightRounding):
    """Magnitudes between two trained ends, spread over the integers."""

    def __init__(self, given: GivenWeights, known: QParams) -> None:
        super().__init__(given.seed)
        self._known, self._levels = known, levels_of(known)
        first = known.scale[:1, :1] if given.shared else known.scale
        largest = first * self._levels.high
        #: Middle of the interval and its reach to either side, in shares of where it began to end.
        self.middle = nn.Parameter(torch.full_like(first, 0.5))
        self.reach = nn.Parameter(torch.full_like(first, 0.5))
        self.size = nn.Parameter(first.clone())
        self._range: Tensor
        self.register_buffer("_range", largest.clone())

    def forward(self, weights: Tensor) -> Tensor:
        """Integers times their size; gradients go straight through the rounding."""
        spread = self._spread(weights)
        codes = self._levels.nearest(spread.detach())
        size = softened(self.size, share_of(weights, self.size, self._levels.high))
        return straight(spread, codes) * size.clamp_min(LEAST)

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams]:
        """Integers with their sizes."""
        with torch.no_grad():
            codes = self._levels.nearest(self._spread(weights.to(self._range))).cpu()
        scale = self.size.detach().clamp_min(LEAST).cpu().expand_as(self._known.scale).contiguous()
        return codes * scale, QParams(scale, self._known.bits)

    def _spread(self, weights: Tensor) -> Tensor:
        """Equation 3, times the largest integer."""
        units = weights / self._range
        share = share_of(weights, self.reach, self._levels.high)
        half = softened(self.reach, share).clamp_min(1e-3)
        inner = (units.abs() - softened(self.middle, share) + half) / (2 * half)
        return units.sign() * inner.clamp(0, 1) * self._levels.high
