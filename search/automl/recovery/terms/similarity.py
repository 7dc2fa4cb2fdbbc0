"""Similarity: inputs that are alike to the dense network are alike to the compressed one."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from automl.errors import DataError
from automl.recovery.base import Step, Term

Tensor = torch.Tensor


class Similarity(Term):
    """Similarity-preserving distillation (Tung and Mori, 2019, equations 1 to 4).

    At each place the products of the batch's inputs with each other, rows of length one, and the
    squared difference from the dense network's over the batch's square; the mean over places.

    Args:
        weight: What the loss is multiplied by: the paper has 3,000.
    """

    reads_features = True

    def __init__(self, weight: float = 100.0) -> None:
        self._weight = weight

    def __call__(self, step: Step) -> Tensor:
        """The mean over places."""
        if not step.features:
            raise DataError(
                "the term similarity finds no place where both networks are of one width"
            )
        losses = [
            (_alike(found) - _alike(aim)).square().mean() for found, aim in step.features.values()
        ]
        return self._weight * torch.stack(losses).mean()


def _alike(features: Tensor) -> Tensor:
    rows = features.float().flatten(1)
    return F.normalize(rows @ rows.t(), dim=1)
