"""Rounding as a draw among neighbours, smooth enough for gradients."""

from __future__ import annotations

import torch
from torch import nn

from automl.compression import ActivationQParams, Codebook, QParams
from automl.errors import UsageError
from automl.policy import Bits
from automl.recovery.base import (
    ActivationRounding,
    GivenActivations,
    GivenWeights,
    Levels,
    TrainedQuantizer,
    TrainedRounding,
    WeightRounding,
)
from automl.recovery.quantizers.centroids import TrainedCentroids
from automl.recovery.quantizers.lsq import levels_of, on_steps
from automl.recovery.quantizers.steps import (
    LEAST,
    frozen_step,
    share_of,
    softened,
    weight_step,
)

Tensor = torch.Tensor
#: The width of the noise at the start, in steps.
_NOISE = 0.15


class RelaxedRounding(TrainedQuantizer):
    """Relaxed quantization (Louizos et al., 2019, section 2).

    A value with logistic noise falls to each integer with some chance; training draws one by the
    Gumbel-softmax relaxation, and the step and the noise are trained. Afterwards values are rounded
    to the nearest. Differs: chances are those of the nearest integer and its two neighbours (the
    paper's local grid has those within some deviations); the noise begins at 0.15 of a step, where
    the paper has a third, for what begins rounded, with the integers of calibration, is trained for
    a short while; gradients of a step and of its noise are divided as those of `lsq`. Of weights
    alone, the shared values are trained.

    Args:
        temperature: Of the relaxation, above 0 and at most 10.

    Raises:
        UsageError: The temperature is out of that range.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        if not 0 < temperature <= 10:
            raise UsageError(
                f"relaxed takes a temperature above 0 and up to 10, found {temperature:g}"
            )
        self._temperature = temperature

    def refusal(self, bits: Bits) -> str:
        """Layers of one bit: two values have no neighbours on both sides."""
        return "relaxed rounding has neighbours to draw from: 2 bits or more" * (bits.weights < 2)

    def weights(self, given: GivenWeights) -> WeightRounding:
        """Integers that are drawn, or shared values."""
        if isinstance(given.known, Codebook):
            return TrainedCentroids(given, given.known)
        return RelaxedWeights(given, given.known, self._temperature)

    def activations(self, given: GivenActivations) -> ActivationRounding:
        """Integers that are drawn."""
        return RelaxedActivations(given, self._temperature)


class RelaxedWeights(WeightRounding):
    """Integers times a step, drawn while they are trained."""

    def __init__(self, given: GivenWeights, known: QParams, temperature: float) -> None:
        super().__init__(given.seed)
        self._known, self._temperature = known, temperature
        self._levels = levels_of(known)
        self.step = nn.Parameter(weight_step(known, given.shared))
        self.noise = nn.Parameter(torch.full_like(self.step, _NOISE))

    def begin(self, given: GivenWeights) -> Tensor:
        """Integers of calibration's steps: the given, or what fits layers before that changed."""
        return on_steps(given, self.step.detach(), self._levels)

    def forward(self, weights: Tensor) -> Tensor:
        """Drawn; in evaluation mode the nearest."""
        parts = (self.step, self.noise, self._levels, self._temperature)
        return _drawn(self, weights, *parts)

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams]:
        """The nearest integers with their steps."""
        return frozen_step(weights, self.step, self._known)


class RelaxedActivations(ActivationRounding):
    """Integers times a step, drawn while they are trained."""

    def __init__(self, given: GivenActivations, temperature: float) -> None:
        super().__init__(given.seed)
        self._known, self._levels = given.known, given.levels
        self._temperature = temperature
        self.step = nn.Parameter(torch.tensor(given.known.scale))
        self.noise = nn.Parameter(torch.tensor(_NOISE))

    def forward(self, values: Tensor) -> Tensor:
        """Drawn; in evaluation mode the nearest."""
        return _drawn(self, values, self.step, self.noise, self._levels, self._temperature)

    def frozen(self) -> ActivationQParams:
        """With the step that was trained."""
        known, step = self._known, max(float(self.step.detach()), LEAST)
        return ActivationQParams(step, known.zero_point, known.low, known.high)


def _drawn(
    rounding: TrainedRounding,
    values: Tensor,
    step: Tensor,
    noise: Tensor,
    levels: Levels,
    temperature: float,
) -> Tensor:
    share = share_of(values, step, levels.high)
    positive = softened(step.clamp_min(LEAST), share)
    units = values / positive
    if not rounding.training:
        return levels.nearest(units) * positive
    middle = levels.nearest(units.detach())
    integers = middle.unsqueeze(-1) + torch.tensor([-1.0, 0.0, 1.0]).to(middle)
    width = softened(noise.clamp_min(1e-3), share).unsqueeze(-1)
    inner = units.clamp(levels.low - 1, levels.high + 1).unsqueeze(-1)
    upper, lower = (((integers + side - inner) / width).sigmoid() for side in (0.5, -0.5))
    allowed = (integers >= levels.low) & (integers <= levels.high)
    chances = ((upper - lower).clamp_min(1e-20)).log().masked_fill(~allowed, -1e9)
    gumbel = -(-rounding.uniform(integers.shape, units).log()).log()
    shares = ((chances + gumbel) / temperature).softmax(-1)
    return (shares * integers).sum(-1) * positive
