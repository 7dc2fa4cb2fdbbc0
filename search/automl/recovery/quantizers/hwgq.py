"""Activations of the levels that are best for half of a Gaussian."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch

from automl.compression import ActivationQParams
from automl.errors import UsageError, nearest
from automl.recovery.base import ActivationRounding, GivenActivations, Levels
from automl.recovery.quantizers.lsq import LearnedSteps

Tensor = torch.Tensor
TAILS: Final = ("clipped", "vanilla", "log")
#: Points of the Gaussian on which steps are tried, and how far out.
_POINTS, _FAR = 20_001, 6.0


class HalfWave(LearnedSteps):
    """Half-wave Gaussian quantisation (Cai et al., 2017, section 4), its uniform levels.

    What a ReLU wrote is taken for half of a Gaussian, whose best step for so many levels is known;
    the step stays, and gradients are those of a function that is gentler than the rounding.
    Differs: norms are folded, so the Gaussian's deviation is that of the calibration inputs, tensor
    by tensor; weights are those of `lsq`, where the paper has one bit, rounded anew for the levels.
    Activations that may be negative, and those with a zero point, are rounded by `lsq`.

    Args:
        tail: Of the gradients beyond the largest level: "clipped" for none, "vanilla" as it comes,
            "log" for 1 / (x - largest + 1), in deviations.

    Raises:
        UsageError: There is no such tail.
    """

    def __init__(self, tail: str = "clipped") -> None:
        if tail not in TAILS:
            known = ", ".join(TAILS)
            raise UsageError(f"hwgq has no tail {tail!r}{nearest(str(tail), TAILS)}: {known}")
        self._tail = tail

    def activations(self, given: GivenActivations) -> ActivationRounding:
        """Levels of a half wave where values are one, else integers with a step."""
        deviation = float(given.seen.double().square().mean().mul(2).sqrt())
        if given.levels.low < 0 or not deviation > 0:
            return super().activations(given)
        return HalfWaveLevels(given, deviation, self._tail)


class HalfWaveLevels(ActivationRounding):
    """Integers times the best step of a half wave."""

    def __init__(self, given: GivenActivations, deviation: float, tail: str) -> None:
        super().__init__(given.seed)
        known, self._levels, self._tail = given.known, given.levels, tail
        step = best_step(self._levels.high) * deviation
        self._known = ActivationQParams(step, known.zero_point, known.low, known.high)
        self._deviation = deviation

    def forward(self, values: Tensor) -> Tensor:
        """The nearest integers times the step."""
        found: Tensor = _HalfWave.apply(  # type: ignore[no-untyped-call]
            values, self._known.scale, self._deviation, self._levels, self._tail
        )
        return found

    def frozen(self) -> ActivationQParams:
        """With the half wave's step."""
        return self._known


@cache
def best_step(highest: int) -> float:
    """The step of least squared error for half of a Gaussian of deviation 1, as float32 has it.

    Args:
        highest: The largest integer; the smallest is 0.
    """
    points = torch.linspace(0, _FAR, _POINTS, dtype=torch.float64)
    density = (-points.square() / 2).exp()

    def error(step: float) -> float:
        codes = (points / step).round().clamp(0, highest)
        return float(((codes * step - points).square() * density).sum())

    low, high = 1e-3, _FAR
    for _ in range(5):  # nets that close in on it: the error has one valley
        tried = torch.linspace(low, high, 61, dtype=torch.float64).tolist()
        best = min(range(len(tried)), key=lambda place: error(tried[place]))
        low, high = tried[max(best - 1, 0)], tried[min(best + 1, 60)]
    return float(torch.tensor((low + high) / 2, dtype=torch.float32))


class _HalfWave(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, step: float, deviation: float, levels: Levels, tail: str
    ) -> Tensor:
        ctx.save_for_backward(values)
        ctx.end, ctx.deviation, ctx.tail = levels.high * step, deviation, tail
        return levels.nearest(values / step) * step

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,), (values,) = slopes, ctx.saved_tensors
        beyond = (values - ctx.end) / ctx.deviation
        above = beyond > 0
        gentle = {
            "clipped": torch.zeros_like(beyond),
            "vanilla": torch.ones_like(beyond),
            "log": 1 / (beyond.clamp_min(0) + 1),
        }[ctx.tail]
        return slope * (values > 0) * torch.where(above, gentle, 1.0), None, None, None, None
