"""Weights as integers: symmetric, with a scale of least error per output channel, or per layer.

A layer is a matrix as `linear_form` gives it: [runs, outputs, columns]. Moments are those of its
inputs, mean over rows: [runs, columns, columns], or one wider with a last row and column for the
ones that the bias multiplies. With the ones, errors are counted about the mean: what is constant
in them is for the bias to take out (`rounding.corrected_bias`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from automl.errors import QuantizationError

Tensor = torch.Tensor
#: Shrink factors that are tried: from the largest weight down to a twentieth of it.
_FACTORS: Final = torch.linspace(1.0, 0.05, 77)
#: Rounds of least squares for the scale after the search.
_ROUNDS: Final = 3
_TINY, _HUGE = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


@dataclass(frozen=True, slots=True)
class QParams:
    """What integers stand for: each times the scale of its output channel, the zero point 0.

    Attributes:
        scale: [runs, outputs, 1], float32. Positive, but for a channel of zeros at 1 bit: 0.
        bits: 2 to 8: integers from -(2^(bits-1) - 1) to 2^(bits-1) - 1. 1: only -1 and 1.
        odd: Whether they are the odd ones from -(2^bits - 1) to 2^bits - 1, all 2^bits of them, of
            at most 7 bits: none is zero. Those of 1 bit are so in any case.
    """

    scale: Tensor
    bits: int
    odd: bool = False

    @property
    def highest(self) -> int:
        """The largest integer; the smallest is its negative."""
        return (1 << self.bits) - 1 if self.odd else highest(self.bits)


def highest(bits: int) -> int:
    """The largest integer of so many bits; the smallest is its negative."""
    return max(1, (1 << (bits - 1)) - 1)


def weight_qparams(
    weights: Tensor, bits: int, *, moments: Tensor | None = None, per_tensor: bool = False
) -> QParams:
    """The QParams of least squared error for rounding to nearest, per output channel.

    The largest weight is clipped by the factor of least error among 77 from 1 to 0.05, and the
    scale then refined by least squares against the integers (kept only where the error falls).
    At 1 bit the scale is the weighted mean magnitude, which is exact.
    Source: Frantar & Alistarh 2022 (OBC), appendix: 100 factors to 0.2, p-norm 2.4. Differs: the
    squares are weighted by the diagonal of the moments, so that errors count as they show in the
    outputs; factors go lower, which 2 bits need; the refinement. The 1-bit scale is that
    of Rastegari et al. 2016 (XNOR-Net), weighted.

    Args:
        weights: [runs, outputs, columns].
        bits: 1 to 8.
        moments: Of the inputs, with the ones or without; None weighs all columns alike.
        per_tensor: Whether all output channels share one scale.

    Raises:
        QuantizationError: Weights that are not finite.
    """
    if not torch.isfinite(weights).all():
        raise QuantizationError("weights that are not finite cannot be quantised")
    if not per_tensor:
        return QParams(_scales(weights, bits, column_importance(weights, moments)), bits)
    runs, outputs, _ = weights.shape
    alike = column_importance(weights, moments, per_run=False).expand_as(weights)
    scale = _scales(weights.reshape(1, 1, -1), bits, alike.reshape(1, 1, -1))
    return QParams(scale.expand(runs, outputs, 1).contiguous(), bits)


def _scales(weights: Tensor, bits: int, importance: Tensor) -> Tensor:
    """Of least error for each output: [runs, outputs, 1]."""
    largest = weights.abs().amax(2, keepdim=True).float()
    empty = largest == 0
    unit = weights.float() / torch.where(empty, torch.ones_like(largest), largest)
    if bits == 1:
        return _least_squares(unit, _sign(unit), importance, largest) * largest
    top = highest(bits)
    best, least = torch.full_like(largest, 1 / top), torch.full_like(largest, torch.inf)
    for factor in _FACTORS.tolist():
        scale = torch.full_like(best, factor / top)
        error = _error(unit, scale, top, importance)
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    for _ in range(_ROUNDS):
        scale = _least_squares(unit, _nearest(unit, best, top), importance, best)
        error = _error(unit, scale, top, importance)
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    scale = (best * largest).clamp(_TINY, _HUGE / top * (1 - 1e-6))
    return torch.where(empty, torch.ones_like(scale), scale)


def fitted_qparams(
    weights: Tensor,
    integers: Tensor,
    qparams: QParams,
    moments: Tensor,
    *,
    per_tensor: bool = False,
) -> QParams:
    """QParams with the best scales for these integers, by least squares in the outputs.

    Weights, integers: [runs, outputs, columns]. A channel whose best scale is no positive number
    keeps the one it has; with `per_tensor` all channels get one scale.
    """
    spread = centred(moments, weights.shape[2])
    coded = integers.double()
    across = coded @ spread
    dims = (0, 1, 2) if per_tensor else (2,)
    above, below = ((across * each).sum(dims, keepdim=True) for each in (weights, coded))
    scale = (above / below).expand_as(qparams.scale)
    usable = torch.isfinite(scale) & (scale >= _TINY) & (scale <= _HUGE / qparams.highest)
    return QParams(torch.where(usable, scale, qparams.scale.double()).float(), qparams.bits)


def round_to(weights: Tensor, qparams: QParams) -> Tensor:
    """The nearest integers (halves to even, as ONNX rounds), int8, of the weights' shape."""
    if qparams.bits == 1:
        return _sign(weights).to(torch.int8)
    if qparams.odd:
        top = 1 << (qparams.bits - 1)
        below = (weights / (2 * qparams.scale)).floor().clamp(-top, top - 1)
        return (2 * below + 1).to(torch.int8)
    return _nearest(weights, qparams.scale, qparams.highest).to(torch.int8)


def values(integers: Tensor, qparams: QParams) -> Tensor:
    """What the integers stand for, float32: as ONNX's DequantizeLinear computes it."""
    return integers.float() * qparams.scale


def centred(moments: Tensor, columns: int) -> Tensor:
    """Moments as errors meet them, [runs, columns, columns], float64.

    With the column of ones: about the mean, as the bias takes out what is constant. Without it:
    as they are.
    """
    wide = moments.double()
    if wide.shape[2] == columns:
        return wide
    side = wide[:, :-1, -1:]
    return wide[:, :-1, :-1] - side @ side.transpose(1, 2) / wide[:, -1:, -1:]


def column_importance(weights: Tensor, moments: Tensor | None, *, per_run: bool = True) -> Tensor:
    """Weight of each column's squared error, from the moments' diagonal: [runs, 1, columns].

    At most 1, relative to the run's largest (or to that of all runs); 1 throughout where there are
    no moments.
    """
    runs, _, columns = weights.shape
    if moments is None:
        return torch.ones(runs, 1, columns)
    diagonal = centred(moments, columns).diagonal(dim1=1, dim2=2).clamp_min(0).unsqueeze(1)
    peak = diagonal.amax(2 if per_run else (0, 1, 2), keepdim=True)
    # dead columns still count a little: other images may wake them
    relative = torch.where(peak > 0, diagonal / peak, torch.ones_like(diagonal))
    return relative.clamp_min(1e-6).float()


def _nearest(weights: Tensor, scale: Tensor, top: int) -> Tensor:
    return (weights / scale).round().clamp(-top, top)


def _sign(weights: Tensor) -> Tensor:
    return torch.where(weights < 0, -torch.ones_like(weights), torch.ones_like(weights))


def _error(weights: Tensor, scale: Tensor, top: int, importance: Tensor) -> Tensor:
    gap = _nearest(weights, scale, top).mul_(scale).sub_(weights)
    return gap.square_().mul_(importance).sum(2, keepdim=True)


def _least_squares(
    weights: Tensor, integers: Tensor, importance: Tensor, otherwise: Tensor
) -> Tensor:
    """The scale of least weighted squared error for integers that are given."""
    weighted = integers * importance
    below = (weighted * integers).sum(2, keepdim=True)
    scale = (weighted * weights).sum(2, keepdim=True) / below
    return torch.where(below > 0, scale, otherwise)
