"""Weights of three values, both of which that are not zero are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.compression import Codebook
from automl.errors import UsageError
from automl.policy import Bits, is_float
from automl.recovery.base import GivenWeights, WeightRounding
from automl.recovery.quantizers.fitting import two_sizes
from automl.recovery.quantizers.lsq import LearnedSteps
from automl.recovery.quantizers.steps import LEAST, book_of

Tensor = torch.Tensor


class TrainedTernary(LearnedSteps):
    """Trained ternary quantisation (Zhu et al., 2017, section 3.2).

    Weights are -Wn, 0 or Wp. Both are trained: their gradients are sums over the weights that have
    them; a weight's own is that times Wp, 1 or Wn. Zero are those below a share of the largest.
    Differs: the largest is an output channel's, for norms are folded; training begins on the three
    values that second-order rounding finds, not on those of the dense weights, of which the
    threshold leaves hardly one zero. Wn and Wp are a layer's, as in the paper, so they are stored
    as shared values. Two sizes are no integers of one scale:
    layers with rounded activations are refused.

    Args:
        threshold: The share, above 0 and below 1.

    Raises:
        UsageError: The threshold is out of that range.
    """

    def __init__(self, threshold: float = 0.05) -> None:
        if not 0 < threshold < 1:
            raise UsageError(f"ttq takes a threshold between 0 and 1, found {threshold:g}")
        self._threshold = threshold

    def refusal(self, bits: Bits) -> str:
        """Layers of other bits than 2 of weights alone."""
        fits = bits.weights == 2 and is_float(bits)
        return "" if fits else "three values of two sizes are 2 bits of weights alone: w2"

    def weights(self, given: GivenWeights) -> WeightRounding:
        """Three shared values."""
        return TwoSizes(given, self._threshold)


class TwoSizes(WeightRounding):
    """-Wn, 0 and Wp."""

    def __init__(self, given: GivenWeights, threshold: float) -> None:
        super().__init__(given.seed)
        self._threshold = threshold
        self._first, above, below = two_sizes(given)
        self.above, self.below = nn.Parameter(above.clone()), nn.Parameter(below.clone())

    def begin(self, given: GivenWeights) -> Tensor:
        """The three values."""
        return self._first * torch.where(self._first > 0, self.above, self.below).detach()

    def forward(self, weights: Tensor) -> Tensor:
        """The three values."""
        found: Tensor = _Sized.apply(  # type: ignore[no-untyped-call]
            weights, self._signs(weights), self.above, self.below
        )
        return found

    def frozen(self, weights: Tensor) -> tuple[Tensor, Codebook]:
        """The three values, and who has which."""
        above, below = (each.detach().cpu().clamp_min(LEAST) for each in (self.above, self.below))
        signs = self._signs(weights.cpu())
        book = book_of(signs, torch.tensor([-1.0, 0.0, 1.0]), 2)
        entries = torch.stack([-below, torch.zeros(()), above])
        book = Codebook(entries, book.indices, 2)
        return book.values(), book

    @torch.no_grad()
    def _signs(self, weights: Tensor) -> Tensor:
        sizes = weights.abs()
        return weights.sign() * (sizes > self._threshold * sizes.amax(2, keepdim=True))


class _Sized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, signs: Tensor, above: Tensor, below: Tensor) -> Tensor:
        sizes = above.clamp_min(LEAST), below.clamp_min(LEAST)
        ctx.save_for_backward(signs, *sizes)
        return torch.where(signs > 0, sizes[0], torch.where(signs < 0, -sizes[1], 0.0))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        (slope,), (signs, above, below) = slopes, ctx.saved_tensors
        own = torch.where(signs > 0, above, torch.where(signs < 0, below, 1.0))
        return slope * own, None, (slope * (signs > 0)).sum(), -(slope * (signs < 0)).sum()
