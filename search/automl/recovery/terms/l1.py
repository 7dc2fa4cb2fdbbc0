"""L1: the magnitudes of all weights."""

from __future__ import annotations

from typing import ClassVar

import torch

from automl.recovery.base import Step, Term

Tensor = torch.Tensor


class L1Weights(Term):
    """Lasso (Tibshirani, 1996): weights shrink by the same length.

    Of weights as they are delivered, norms folded: behind a norm their own length changes nothing.

    Args:
        weight: Of the sum over the weights of all convolutions and linear layers.
    """

    reads_teachers: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = True

    def __init__(self, weight: float = 1e-4) -> None:
        self._weight = weight

    def __call__(self, step: Step) -> Tensor:
        """Of the student's weights."""
        sums = [each.abs().sum() for each in step.weights.values()]
        return self._weight * torch.stack(sums).sum()
