"""Hints: what is inside the dense network as a target for what is inside the compressed one."""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional as F

from automl.errors import DataError
from automl.recovery.base import Step, Term

Tensor = torch.Tensor
#: Smallest variance that a difference is divided by.
_SMALL: Final = 1e-12


class Hints(Term):
    """Mean squared difference of features, relative to the variance of the teacher's.

    After FitNets (Romero et al., 2015): it trains up to one hint first and needs a regressor, for
    its widths differ. Here the outputs of all blocks whose widths agree are hints, at once with the
    other losses. Maps of other sizes are pooled to the smaller one's.

    Args:
        weight: What the mean over all places is multiplied by.
        local: Whether each block learns by itself, from what the student's blocks before it give.
    """

    reads_features = True

    def __init__(self, weight: float = 1.0, local: bool = False) -> None:
        self._weight, self.local = weight, local

    def __call__(self, step: Step) -> Tensor:
        """The mean over places."""
        if not step.features:
            raise DataError("the term hints finds no place where both networks are of one width")
        losses = [_distance(*pair) for pair in step.features.values()]
        return self._weight * torch.stack(losses).mean()


def _distance(found: Tensor, aim: Tensor) -> Tensor:
    found, aim = found.float(), aim.float()
    if found.shape != aim.shape:
        size = tuple(map(min, found.shape[2:], aim.shape[2:]))
        found, aim = _pooled(found, size), _pooled(aim, size)
    variance = (aim - aim.mean(0, keepdim=True)).square().mean()
    return F.mse_loss(found, aim) / variance.clamp_min(_SMALL)


def _pooled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.adaptive_avg_pool2d(maps, (size[0], size[1]))
