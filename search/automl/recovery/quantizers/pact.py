"""Activations whose clipping level is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.compression import ActivationQParams
from automl.recovery.base import ActivationRounding, GivenActivations, Levels
from automl.recovery.quantizers.dorefa import Squashed
from automl.recovery.quantizers.steps import LEAST

Tensor = torch.Tensor


class TrainedClips(Squashed):
    """PACT (Choi et al., 2018, section 3): y = clip(x, 0, a), rounded; a is trained.

    The gradient by a is the sum of the gradients of those that are clipped, and those inside give
    none. Weights are those of DoReFa, as in the paper, and begin as those do. The pull on a is the
    optimiser's decay of weights. Differs: a begins where calibration clips; activations with a zero
    point are clipped below as well, at the share of a that this leaves them.
    """

    def activations(self, given: GivenActivations) -> ActivationRounding:
        """Integers up to a level that is trained."""
        return ClippingLevel(given)


class ClippingLevel(ActivationRounding):
    """Integers up to a level that is trained."""

    def __init__(self, given: GivenActivations) -> None:
        super().__init__(given.seed)
        self._known, self._levels = given.known, given.levels
        self._top = max(self._levels.high, -self._levels.low)
        self.level = nn.Parameter(torch.tensor(given.known.scale * self._top))

    def forward(self, values: Tensor) -> Tensor:
        """The nearest integers times the step."""
        found: Tensor = _Clipped.apply(  # type: ignore[no-untyped-call]
            values, self.level, self._levels, self._top
        )
        return found

    def frozen(self) -> ActivationQParams:
        """With the step of the level that was trained."""
        step = float(_step(self.level.detach(), self._top))
        known = self._known
        return ActivationQParams(step, known.zero_point, known.low, known.high)


def _step(level: Tensor, top: int) -> Tensor:
    return (level / top).clamp_min(LEAST)


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, level: Tensor, levels: Levels, top: int) -> Tensor:
        step = _step(level, top)
        ctx.save_for_backward(values, step)
        ctx.levels, ctx.top, ctx.shape = levels, top, level.shape
        return levels.nearest(values / step) * step

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (slope,) = slopes
        values, step = ctx.saved_tensors
        low, high = ctx.levels.low * step, ctx.levels.high * step
        above, below = values >= high, values < low
        by_level = slope * (
            above * (ctx.levels.high / ctx.top) + below * (ctx.levels.low / ctx.top)
        )
        return slope * ~(above | below), by_level.sum_to_size(ctx.shape), None, None
