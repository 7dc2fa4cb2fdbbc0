"""Learned step sizes: the step between integers is trained like a weight."""

from __future__ import annotations

import math
from typing import Any

import torch

from automl.recovery.base import Levels, TrainedQuantizer

Tensor = torch.Tensor
#: No step is smaller, wherever training drives it.
_LEAST = torch.finfo(torch.float32).tiny


class LearnedSteps(TrainedQuantizer):
    """Learned Step Size Quantization (Esser et al., 2020, section 2).

    The gradient by a step is that of the rounded value, `round(v/s) - v/s` inside the range and
    the end of the range outside, times 1 / sqrt(N x Qp). Differs: steps begin with those of
    calibration, where the paper begins with 2<|v|>/sqrt(Qp); weights have a step an output channel
    where the target has; activations may have a zero point, which stays as it is.
    """

    def __call__(self, values: Tensor, step: Tensor, levels: Levels, sharing: int) -> Tensor:
        """Values rounded, with gradients for both."""
        scale = 1 / math.sqrt(sharing * max(levels.high, 1))
        found: Tensor = _Rounded.apply(values, step, levels, scale)  # type: ignore[no-untyped-call]
        return found


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, levels: Levels, scale: float) -> Tensor:
        positive = step.clamp_min(_LEAST)
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
