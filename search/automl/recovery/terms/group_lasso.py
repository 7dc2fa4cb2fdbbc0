"""Group lasso: whole filters, channels, places or layers are drawn to zero."""

from __future__ import annotations

from typing import ClassVar

import torch

from automl.recovery.base import Step, Term
from automl.recovery.layer_weights import check_structure, group_lengths

Tensor = torch.Tensor


class GroupLasso(Term):
    """Structured sparsity learning (Wen et al., 2016): the sum of the lengths of groups.

    Lengths are multiplied by the root of how many numbers a group has. Exact zeros come from a
    proximal step (the hook prox), not from a gradient. Differs: of weights as they are delivered,
    norms folded, where the paper has no norms or takes weights as they stand.

    Args:
        weight: Of the sum.
        of: "filter", "channel", "shape" or "depth".
    """

    reads_teachers: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = True

    def __init__(self, weight: float = 1e-4, of: str = "filter") -> None:
        check_structure("of of group-lasso", of)
        self._weight, self._of = weight, of

    def __call__(self, step: Step) -> Tensor:
        """Of the student's weights."""
        found = [group_lengths(each, self._of) for each in step.weights.values()]
        sums = [lengths.sum() * numbers**0.5 for lengths, numbers in filter(None, found)]
        zero = step.found[0].new_zeros(())
        return self._weight * torch.stack(sums).sum() if sums else zero
