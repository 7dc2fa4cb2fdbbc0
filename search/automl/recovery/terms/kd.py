"""Knowledge distillation: the outputs of the dense network, or of several teachers, as targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch.nn import functional as F

from automl.recovery.base import Step, Term

Tensor = torch.Tensor
#: Smallest mean square that a difference is divided by.
_SMALL: Final = 1e-12


class KnowledgeDistillation(Term):
    """How far outputs are from the teachers' (Hinton et al., 2015; You et al., 2017).

    Kullback-Leibler divergence from the mean of the teachers' softened probabilities, times the
    temperature's square; mean squares to the teachers' mean of maps and tokens, and of rows that
    are no classes relative to that mean, for their scale is anything. The labels' part of the paper
    is a term of its own.

    Args:
        weight: What the loss is multiplied by.
        temperature: Of the teachers' and the student's logits.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 4.0) -> None:
        self._weight, self._temperature = weight, temperature

    def __call__(self, step: Step) -> Tensor:
        """The sum over outputs of the mean over the batch."""
        by_output = zip(*step.aims, strict=True)
        losses = [
            self._distance(found.float(), [aim.float() for aim in aims], classes=step.classes)
            for found, aims in zip(step.found, by_output, strict=True)
        ]
        return self._weight * torch.stack(losses).sum()

    def _distance(self, found: Tensor, aims: Sequence[Tensor], *, classes: bool) -> Tensor:
        if found.dim() == 2 and classes:
            soft = torch.stack([F.softmax(aim / self._temperature, 1) for aim in aims]).mean(0)
            predicted = F.log_softmax(found / self._temperature, 1)
            return F.kl_div(predicted, soft, reduction="batchmean") * self._temperature**2
        aim = torch.stack(list(aims)).mean(0)
        squares = F.mse_loss(found, aim)
        return squares / aim.square().mean().clamp_min(_SMALL) if found.dim() == 2 else squares
