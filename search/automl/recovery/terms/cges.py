"""CGES: sharing and competing for features, more of the one early, of the other late."""

from __future__ import annotations

from typing import ClassVar

import torch

from automl.recovery.base import Step, Term

Tensor = torch.Tensor


class CombinedGroupExclusive(Term):
    """Combined group and exclusive sparsity (Yoon and Hwang, 2017, equations 5 and 6).

    Of each layer (1 - m) times the sum of its filters' lengths and m / 2 times the sum of the
    squares of their absolute sums; m rises from `least` at the first layer to 1 - `least` at the
    last. Differs: the squares are divided by how many numbers a filter has, for layers differ; of
    weights as they are delivered, norms folded.

    Args:
        weight: Of all.
        least: m of the first layer.
    """

    reads_teachers: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = True

    def __init__(self, weight: float = 1e-3, least: float = 0.2) -> None:
        self._weight, self._least = weight, least

    def __call__(self, step: Step) -> Tensor:
        """Of the student's weights."""
        losses, layers = [], [*step.weights.values()]
        for number, weight in enumerate(layers):
            place = number / max(1, len(layers) - 1)
            mixed = self._least + (1 - 2 * self._least) * place
            rows = weight.flatten(1)
            exclusive = rows.abs().sum(1).square().sum() / rows.shape[1]
            lengths = torch.linalg.vector_norm(rows, dim=1).sum()
            losses.append((1 - mixed) * lengths + mixed / 2 * exclusive)
        return self._weight * torch.stack(losses).sum()
