"""Network Slimming: the scales of batch norms are drawn to zero."""

from __future__ import annotations

from typing import ClassVar

import torch

from automl.recovery.base import Step, Term
from automl.recovery.layer_weights import norm_scales

Tensor = torch.Tensor


class L1Gamma(Term):
    """The sum of the magnitudes of what batch norms multiply with (Liu et al., 2017).

    GAN Slimming (Wang et al., 2020) has the same beside distillation: ask for both.

    Args:
        weight: Of the sum.
    """

    reads_teachers: ClassVar[bool] = False

    def __init__(self, weight: float = 1e-3) -> None:
        self._weight = weight

    def __call__(self, step: Step) -> Tensor:
        """Of the student's norms.

        Raises:
            UsageError: It has none.
        """
        scales = norm_scales(step.student).values()
        return self._weight * torch.stack([each.abs().sum() for each in scales]).sum()
