"""Learned step sizes: the step between integers is trained like a weight."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from automl.compression import ActivationQParams, Codebook, QParams
from automl.recovery.base import (
    ActivationRounding,
    GivenActivations,
    GivenWeights,
    Levels,
    TrainedQuantizer,
    WeightRounding,
)
from automl.recovery.quantizers.centroids import TrainedCentroids
from automl.recovery.quantizers.fitting import nearest_among
from automl.recovery.quantizers.steps import LEAST, frozen_step, weight_step

Tensor = torch.Tensor


class LearnedSteps(TrainedQuantizer):
    """Learned Step Size Quantization (Esser et al., 2020, section 2).

    The gradient by a step is that of the rounded value, `round(v/s) - v/s` inside the range and
    the end of the range outside, times 1 / sqrt(N x Qp). Differs: steps begin with those of
    calibration, where the paper begins with 2<|v|>/sqrt(Qp); weights have a step an output channel
    where the target has; activations may have a zero point, which stays as it is. Of weights alone,
    which stand on a codebook, the shared values are trained.
    """

    def weights(self, given: GivenWeights) -> WeightRounding:
        """Integers with steps, or shared values."""
        if isinstance(given.known, Codebook):
            return TrainedCentroids(given, given.known)
        return WeightSteps(given, given.known)

    def activations(self, given: GivenActivations) -> ActivationRounding:
        """Integers with a step."""
        return ActivationStep(given)


class WeightSteps(WeightRounding):
    """Integers times a step that is trained."""

    def __init__(self, given: GivenWeights, known: QParams) -> None:
        super().__init__(given.seed)
        self._known, self._levels = known, levels_of(known)
        self.step = nn.Parameter(weight_step(known, given.shared))

    def begin(self, given: GivenWeights) -> Tensor:
        """Integers of calibration's steps: the given, or what fits layers before that changed."""
        return on_steps(given, self.step.detach(), self._levels)

    def forward(self, weights: Tensor) -> Tensor:
        """The nearest integers times the step."""
        return learned(weights, self.step, self._levels, weights.numel() // self.step.numel())

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams]:
        """Integers with their steps."""
        return frozen_step(weights, self.step, self._known)


class ActivationStep(ActivationRounding):
    """Integers times a step that is trained."""

    def __init__(self, given: GivenActivations) -> None:
        super().__init__(given.seed)
        self._known, self._levels = given.known, given.levels
        self.step = nn.Parameter(torch.tensor(given.known.scale))

    def forward(self, values: Tensor) -> Tensor:
        """The nearest integers times the step."""
        sharing = max(1, values.numel() // max(1, len(values)))
        return learned(values, self.step, self._levels, sharing)

    def frozen(self) -> ActivationQParams:
        """With the step that was trained."""
        known, step = self._known, max(float(self.step.detach()), LEAST)
        return ActivationQParams(step, known.zero_point, known.low, known.high)


def levels_of(known: QParams) -> Levels:
    """The integers of weights."""
    return Levels(-known.highest, known.highest, known.bits == 1)


def on_steps(given: GivenWeights, step: Tensor, levels: Levels) -> Tensor:
    """Weights as they are given, or where there is an aim that one on the integers of a step.

    Args:
        given: The layer.
        step: Of its outputs, or of all.
        levels: The integers.
    """
    if given.aim is None:
        return given.weights
    integers = torch.arange(levels.low, levels.high + 1, 2 if levels.binary else 1)
    grids = integers * step.expand(*given.weights.shape[:2], 1)
    return nearest_among(given, grids)


def learned(values: Tensor, step: Tensor, levels: Levels, sharing: int) -> Tensor:
    """Integers of `levels` times the step, exactly, with the gradients of the paper.

    Args:
        values: Weights or activations.
        step: Between two integers, in a shape that expands to that of the values.
        levels: The integers.
        sharing: How many values have one step: of activations, those of one input.
    """
    scale = 1 / math.sqrt(sharing * max(levels.high, 1))
    found: Tensor = _Rounded.apply(values, step, levels, scale)  # type: ignore[no-untyped-call]
    return found


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, levels: Levels, scale: float) -> Tensor:
        positive = step.clamp_min(LEAST)
        ctx.save_for_backward(values, positive)
        ctx.levels, ctx.scale, ctx.shape = levels, scale, step.shape
        return levels.nearest(values / positive) * positive

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (slope,) = slopes
        values, step = ctx.saved_tensors
        levels: Levels = ctx.levels
        units = values / step
        inside = (units >= levels.low) & (units <= levels.high)
        codes = levels.nearest(units)
        by_step = slope * torch.where(inside, codes - units, codes) * ctx.scale
        return slope * inside, by_step.sum_to_size(ctx.shape), None, None
