"""Integers that span what is there: ranges follow weights and activations as they are trained."""

from __future__ import annotations

import torch

from automl.compression import ActivationQParams, Codebook, QParams
from automl.errors import UsageError
from automl.recovery.base import (
    ActivationRounding,
    GivenActivations,
    GivenWeights,
    WeightRounding,
)
from automl.recovery.quantizers.centroids import TrainedCentroids
from automl.recovery.quantizers.lsq import LearnedSteps, levels_of, on_steps
from automl.recovery.quantizers.steps import LEAST, frozen_step, straight

Tensor = torch.Tensor


class SpanningIntegers(LearnedSteps):
    """Jacob et al. 2018, section 3, and Krishnamoorthi 2018, section 2.5: ranges are not trained.

    Weights span their largest magnitude; the range of activations is a running average of what
    batches span. Gradients go straight through inside. Differs: weights are symmetric, with a scale
    an output channel where the target has; averages begin with the range of calibration, zero
    points stay; an output whose largest weight calibration put inside its range is rounded anew.
    Layers of one bit are rounded by `lsq`.

    Args:
        momentum: What stays of the average at a step: at least 0, below 1.

    Raises:
        UsageError: The momentum is out of that range.
    """

    def __init__(self, momentum: float = 0.99) -> None:
        if not 0 <= momentum < 1:
            raise UsageError(f"minmax takes a momentum from 0 to below 1, found {momentum:g}")
        self._momentum = momentum

    def weights(self, given: GivenWeights) -> WeightRounding:
        """Integers up to the largest magnitude, or shared values."""
        if isinstance(given.known, Codebook):
            return TrainedCentroids(given, given.known)
        several = given.bits.weights > 1
        return SpanningWeights(given, given.known) if several else super().weights(given)

    def activations(self, given: GivenActivations) -> ActivationRounding:
        """Integers of a range that is averaged."""
        return SpanningActivations(given, self._momentum)


class SpanningWeights(WeightRounding):
    """Integers up to the largest magnitude."""

    def __init__(self, given: GivenWeights, known: QParams) -> None:
        super().__init__(given.seed)
        self._known, self._levels, self._shared = known, levels_of(known), given.shared

    def begin(self, given: GivenWeights) -> Tensor:
        """The given weights; where the largest of an output is no end of its integers, others."""
        if given.aim is None:
            return given.weights
        step = self._step(given.weights)
        found = on_steps(given, step, self._levels)
        end, dims = self._levels.high * step, (0, 1, 2) if self._shared else (2,)
        sizes = given.wanted.abs()
        ends = (sizes == sizes.amax(dims, True)) & (found.abs().amax(dims, True) < end)
        return torch.where(ends, given.wanted.sign() * end, found)

    def forward(self, weights: Tensor) -> Tensor:
        """The nearest integers times the step."""
        numbers = weights.detach()
        step = self._step(numbers)
        return straight(weights, self._levels.nearest(numbers / step) * step)

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams]:
        """Integers with their steps."""
        return frozen_step(weights, self._step(weights), self._known)

    def _step(self, weights: Tensor) -> Tensor:
        dims = (0, 1, 2) if self._shared else (2,)
        return (weights.abs().amax(dims, keepdim=True) / self._levels.high).clamp_min(LEAST)


class SpanningActivations(ActivationRounding):
    """Integers of a range that is a running average."""

    def __init__(self, given: GivenActivations, momentum: float) -> None:
        super().__init__(given.seed)
        self._known, self._levels, self._momentum = given.known, given.levels, momentum
        self._step: Tensor
        self.register_buffer("_step", torch.tensor(given.known.scale))

    def forward(self, values: Tensor) -> Tensor:
        """The nearest integers times the step."""
        levels = self._levels
        if self.training:
            least, largest = values.detach().aminmax()
            span = torch.maximum(largest / max(levels.high, 1), least / min(levels.low, -1))
            if span > 0:
                self._step.lerp_(span, 1 - self._momentum)
        step = self._step.clamp_min(LEAST).clone()
        inside = values.clamp(levels.low * step, levels.high * step)
        return straight(inside, levels.nearest(values.detach() / step) * step)

    def frozen(self) -> ActivationQParams:
        """With the averaged step."""
        known, step = self._known, max(float(self._step), LEAST)
        return ActivationQParams(step, known.zero_point, known.low, known.high)
