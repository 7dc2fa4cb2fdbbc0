"""L1: the magnitudes of all weights."""

from __future__ import annotations

from typing import ClassVar

import torch

from automl.recovery.base import Step, Term
from automl.recovery.layer_weights import layer_weights

Tensor = torch.Tensor


class L1Weights(Term):
    """Lasso (Tibshirani, 1996): weights shrink by the same length.

    Args:
        weight: Of the sum over the weights of all convolutions and linear layers.
    """

    reads_teachers: ClassVar[bool] = False

    def __init__(self, weight: float = 1e-4) -> None:
        self._weight = weight

    def __call__(self, step: Step) -> Tensor:
        """Of the student's weights."""
        sums = [each.abs().sum() for each in layer_weights(step.student).values()]
        return self._weight * torch.stack(sums).sum()
