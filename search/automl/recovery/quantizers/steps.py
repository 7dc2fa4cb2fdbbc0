"""What several trained quantizers share: scales of weights, and rounding that gradients pass."""

from __future__ import annotations

from typing import Any, Final

import torch

from automl.compression import Codebook, QParams, round_to

Tensor = torch.Tensor
#: No step is smaller, wherever training drives it.
LEAST: Final = torch.finfo(torch.float32).tiny


def weight_step(known: QParams, shared: bool) -> Tensor:
    """A copy of the scales of weights, one alone where all share it: [runs, outputs, 1]."""
    return (known.scale[:1, :1] if shared else known.scale).clone()


def frozen_step(weights: Tensor, step: Tensor, known: QParams) -> tuple[Tensor, QParams]:
    """Weights rounded to the nearest integers of a step, and what they stand on.

    Args:
        weights: [runs, outputs, columns].
        step: Of its outputs, or of all.
        known: How many bits, and how many scales.
    """
    scale = step.detach().cpu().clamp_min(LEAST).expand_as(known.scale).contiguous()
    qparams = QParams(scale, known.bits, known.odd)
    return round_to(weights.detach().cpu(), qparams).float() * scale, qparams


def straight(values: Tensor, rounded: Tensor) -> Tensor:
    """The rounded values, exactly, with the gradient of the values."""
    return Exactly.apply(values, rounded)  # type: ignore[no-untyped-call, no-any-return]


def softened(values: Tensor, share: float) -> Tensor:
    """The values, exactly, with a share of their gradient."""
    found: Tensor = _Softened.apply(values, share)  # type: ignore[no-untyped-call]
    return found


def share_of(values: Tensor, step: Tensor, highest: int) -> float:
    """By what the gradient of a step is multiplied: 1 / sqrt(N x Qp), of Esser et al. 2020.

    Args:
        values: What has the step, or the steps.
        step: One, or one an output.
        highest: The largest integer.
    """
    found: float = (max(1, values.numel() // step.numel()) * max(highest, 1)) ** -0.5
    return found


def mean_size(weights: Tensor, counted: Tensor | None = None, *, shared: bool = False) -> Tensor:
    """Mean magnitude of the weights of each output, [runs, outputs, 1], or of all in that shape.

    Args:
        weights: [runs, outputs, columns].
        counted: Which are; None for all. Where none is, the mean is 0.
        shared: Whether there is one mean for all.
    """
    dims = (0, 1, 2) if shared else (2,)
    which = torch.ones_like(weights) if counted is None else counted.to(weights.dtype)
    total = (weights.abs() * which).sum(dims, keepdim=True)
    mean: Tensor = total / which.sum(dims, keepdim=True).clamp_min(1)
    return mean.expand(*weights.shape[:2], 1)


def book_of(values: Tensor, entries: Tensor, bits: int) -> Codebook:
    """Weights that are all among some entries, as indices.

    Args:
        values: [runs, outputs, columns].
        entries: Ascending.
        bits: Of an index.
    """
    entries = entries.detach().cpu().float()
    middles = (entries[1:].double() + entries[:-1].double()) / 2
    indices = torch.bucketize(values.detach().cpu().double(), middles).to(torch.uint8)
    return Codebook(entries, indices, bits)


class _Softened(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, share: float) -> Tensor:
        ctx.share = share
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return slopes[0] * ctx.share, None


class Exactly(torch.autograd.Function):
    """One tensor's numbers with another one's gradient."""

    @staticmethod
    def forward(ctx: object, values: Tensor, rounded: Tensor) -> Tensor:
        """The rounded."""
        return rounded.clone()

    @staticmethod
    def backward(ctx: object, *slopes: Tensor) -> tuple[Tensor, None]:
        """As it comes."""
        return slopes[0], None
