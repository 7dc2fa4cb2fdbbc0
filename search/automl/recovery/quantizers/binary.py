"""Weights of one bit: their signs, with a scale an output channel."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from automl.compression import QParams
from automl.policy import Bits
from automl.recovery.base import GivenWeights, WeightRounding
from automl.recovery.quantizers.fitting import scaled_codes
from automl.recovery.quantizers.lsq import LearnedSteps
from automl.recovery.quantizers.steps import LEAST, mean_size

Tensor = torch.Tensor
#: Where 1 of the papers stands, in mean magnitudes at the start.
_ONE = 2.0


class Signs(WeightRounding):
    """Signs of numbers that training moves, times a scale."""

    def __init__(self, given: GivenWeights) -> None:
        super().__init__(given.seed)
        self.shared = given.shared
        self.size: Tensor
        self._first = given.weights
        size = mean_size(given.weights, shared=given.shared)
        if given.aim is not None:
            self._first, scale = scaled_codes(given, torch.tensor([-1.0, 1.0]))
            size = scale.expand_as(size)
        self.register_buffer("size", size.clamp_min(LEAST).clone())

    def begin(self, given: GivenWeights) -> Tensor:
        """Signs of calibration, or of second-order rounding; dense magnitudes."""
        signs = torch.where(self._first < 0, -1.0, 1.0)
        whole = signs if given.dense is None else given.dense
        length = self.size / mean_size(whole, shared=given.shared).clamp_min(LEAST)
        return signs * whole.abs() * length

    @abstractmethod
    def scale(self, weights: Tensor) -> Tensor:
        """Of each output, [runs, outputs, 1], with its gradient where it has one."""

    @abstractmethod
    def slope(self, weights: Tensor, slope: Tensor) -> Tensor:
        """The gradient of the numbers, from that of their signs times the scale.

        Args:
            weights: 1 is twice the mean magnitude that they began with.
            slope: Of what was rounded.
        """

    def forward(self, weights: Tensor) -> Tensor:
        """Signs times the scale; zero counts as above."""
        signs: Tensor = _Sign.apply(weights, self)  # type: ignore[no-untyped-call]
        return signs * self.scale(weights)

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams]:
        """-1 and 1 with their scales."""
        with torch.no_grad():
            scale = self.scale(weights.to(self.size)).cpu().expand(*weights.shape[:2], 1)
        signs = torch.where(weights.cpu() < 0, -1.0, 1.0)
        return signs * scale, QParams(scale.contiguous(), 1)


class _OneBit(LearnedSteps):
    """Rounds layers of one bit; activations with bits are those of `lsq`."""

    by_channel = True
    rounds: ClassVar[type[Signs]]

    def refusal(self, bits: Bits) -> str:
        """Layers of other than 1 bit."""
        return "" if bits.weights == 1 else "signs are 1 bit: w1 or w1a4"

    def weights(self, given: GivenWeights) -> WeightRounding:
        """-1 and 1 with a scale."""
        return self.rounds(given)


class BoundSigns(Signs):
    """Signs with a scale that is trained; numbers do not go on beyond 1."""

    def __init__(self, given: GivenWeights) -> None:
        super().__init__(given)
        first = self.size[:1, :1] if given.shared else self.size
        self.length = nn.Parameter(first.clone())

    def scale(self, weights: Tensor) -> Tensor:
        """As it was trained."""
        return self.length.clamp_min(LEAST)

    def slope(self, weights: Tensor, slope: Tensor) -> Tensor:
        """As it comes, but for what would lead further out where a number is beyond 1."""
        outward = (weights.abs() > 1) & (weights * slope < 0)
        return slope * ~outward


class BinaryConnect(_OneBit):
    """BinaryConnect (Courbariaux et al., 2015, sections 2.3 and 2.4), with signs.

    The network runs on the signs of its weights, gradients move the weights themselves, which stay
    between -1 and 1. Differs: they begin with the post-training signs and the dense magnitudes, and
    1 is twice their mean; an output has a scale that is trained beside it, where the paper leaves
    that to norms. Weights stay in their range as what leads out of it has no gradient.
    """

    rounds = BoundSigns


class FixedSigns(Signs):
    """Signs with the scale that they began with; beyond 1 there is no gradient."""

    def scale(self, weights: Tensor) -> Tensor:
        """That of the start."""
        return self.size

    def slope(self, weights: Tensor, slope: Tensor) -> Tensor:
        """That of the clipped identity (equation 4)."""
        return slope * (weights.abs() <= 1)


class BinarizedNetwork(_OneBit):
    """Binarized neural networks (Hubara et al., 2016, sections 1.1 to 1.3), of weights.

    Gradients go straight through the sign between -1 and 1, and nowhere else. Differs: the paper
    has signs of activations too. No grid of integers around a zero point has two values alone, so
    none can be exported: activations are floats or the integers of the policy.
    """

    rounds = FixedSigns


class MeanSigns(Signs):
    """Signs times the mean magnitude of the output's numbers."""

    def scale(self, weights: Tensor) -> Tensor:
        """Equation 6; its gradient is the first term of that of the paper."""
        return mean_size(weights, shared=self.shared).clamp_min(LEAST)

    def slope(self, weights: Tensor, slope: Tensor) -> Tensor:
        """The second term: that of the clipped identity."""
        return slope * (weights.abs() <= 1)


class XnorNetwork(_OneBit):
    """XNOR-Net (Rastegari et al., 2016, section 3.1): signs times the mean magnitude, of weights.

    The gradient of a number is 1/n of its output's, by the scale, and the scale times that of its
    sign between -1 and 1. Differs: 1 is twice the mean magnitude at the start; activations are not
    binary, for the reason that `bnn` gives.
    """

    rounds = MeanSigns


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, rounding: Signs) -> Tensor:
        ctx.save_for_backward(weights)
        ctx.rounding = rounding
        return torch.where(weights < 0, -1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        units = weights / (_ONE * ctx.rounding.size)
        return ctx.rounding.slope(units, slopes[0]) / ctx.rounding.size, None
