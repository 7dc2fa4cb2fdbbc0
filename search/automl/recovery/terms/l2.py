"""L2: the squares of all weights."""

from __future__ import annotations

from typing import ClassVar

import torch

from automl.recovery.base import Step, Term

Tensor = torch.Tensor


class L2Weights(Term):
    """Weight decay (Krogh and Hertz, 1991): weights shrink by the same share.

    Of weights as they are delivered, norms folded: so the norms' weights shrink. The decay of the
    recipe is of weights as they stand, which behind a norm changes how fast they learn alone.

    Args:
        weight: Of the sum over the weights of all convolutions and linear layers.
    """

    reads_teachers: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = True

    def __init__(self, weight: float = 1e-4) -> None:
        self._weight = weight

    def __call__(self, step: Step) -> Tensor:
        """Of the student's weights."""
        sums = [each.square().sum() for each in step.weights.values()]
        return self._weight * torch.stack(sums).sum()
