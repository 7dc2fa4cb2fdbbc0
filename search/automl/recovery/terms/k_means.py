"""A pull of weights to the few values that they are nearest to."""

from __future__ import annotations

from typing import ClassVar

import torch

from automl.recovery.base import Step, Term
from automl.recovery.level_sets import checked_bits

Tensor = torch.Tensor
#: Rounds of Lloyd's, from quantiles.
_ROUNDS = 6


class KMeansPull(Term):
    """Squared distance of each weight from its cluster's centre (Wu et al., Deep k-Means, 2018).

    Divided by the layer's mean square: 1 for weights that are all in one cluster around zero, 0 for
    weights that are their centres. Differs: numbers are clustered where the paper takes rows of
    kernels, for what is packed afterwards is a codebook of numbers; centres are found anew in each
    step; of weights as they are delivered, norms folded, for these are what is packed.

    Args:
        weight: Of the mean over layers.
        values: Centres a layer.
    """

    reads_teachers: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = True

    def __init__(self, weight: float = 1.0, values: int = 16) -> None:
        self._weight, self._values = weight, checked_bits("values of k-means", values, 2, 256)

    def __call__(self, step: Step) -> Tensor:
        """Of the student's weights."""
        losses = [
            (each - nearest_centres(each.detach(), self._values)).square().mean()
            / each.detach().square().mean().clamp_min(1e-12)
            for each in step.weights.values()
        ]
        return self._weight * torch.stack(losses).mean()


@torch.no_grad()
def nearest_centres(values: Tensor, count: int) -> Tensor:
    """Each number's centre, of so many that Lloyd's rounds find: of the values' shape."""
    flat = values.float().flatten().sort().values
    at = (torch.arange(count, device=flat.device) + 0.5) / count * (len(flat) - 1)
    centres = flat[at.round().long()]
    sums = torch.cat([flat.new_zeros(1).double(), flat.double().cumsum(0)])
    for _ in range(_ROUNDS):
        ends = torch.searchsorted(flat, (centres[1:] + centres[:-1]) / 2)
        ends = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), len(flat))])
        sizes = ends.diff()
        means = (sums[ends[1:]] - sums[ends[:-1]]) / sizes.clamp_min(1)
        centres = torch.where(sizes > 0, means.to(centres), centres)
    middles = (centres[1:] + centres[:-1]) / 2
    return centres[torch.searchsorted(middles, values.float().contiguous())].to(values)
