"""Three values whose rounding errors count beside the loss."""

from __future__ import annotations

from typing import Any

import torch

from automl.errors import UsageError
from automl.recovery.base import GivenWeights, WeightRounding
from automl.recovery.quantizers.ternary import TernaryWeights, ThreeValues

Tensor = torch.Tensor


class LossErrorAware(TernaryWeights):
    """Explicit loss-error-aware quantisation (Zhou et al., 2018), of three values.

    What is minimised is the loss of the rounded weights and the error of rounding them: each weight
    is pulled to its rounded value as it learns. The pull of a layer's weights is as long as `pull`
    of their gradients. Differs: the pull's length follows the gradients, where the paper has a
    constant for each network; all weights are rounded from the first step, where the paper rounds
    them share by share.

    Args:
        pull: Above 0, at most 10.

    Raises:
        UsageError: The pull is out of that range.
    """

    def __init__(self, pull: float = 0.1) -> None:
        if not 0 < pull <= 10:
            raise UsageError(f"elq takes a pull above 0 and up to 10, found {pull:g}")
        self._pull = pull

    def weights(self, given: GivenWeights) -> WeightRounding:
        """-1, 0 and 1 with a scale."""
        return PulledValues(given, self._pull)


class PulledValues(ThreeValues):
    """Three values, to which weights are pulled."""

    def __init__(self, given: GivenWeights, pull: float) -> None:
        super().__init__(given)
        self._pull = pull

    def forward(self, weights: Tensor) -> Tensor:
        """The three values."""
        with torch.no_grad():
            codes, scale = self._found(weights)
        found: Tensor = _Pulled.apply(  # type: ignore[no-untyped-call]
            weights, codes * scale, self._pull
        )
        return found


class _Pulled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, rounded: Tensor, pull: float) -> Tensor:
        ctx.save_for_backward(weights - rounded)
        ctx.pull = pull
        return rounded.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        (slope,), (gap,) = slopes, ctx.saved_tensors
        length = ctx.pull * slope.norm() / gap.norm().clamp_min(1e-30)
        return slope + length * gap, None, None
