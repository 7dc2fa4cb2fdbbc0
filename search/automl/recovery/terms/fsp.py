"""FSP: how two places of a network go together, as in the dense network."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn import functional as F

from automl.errors import DataError
from automl.recovery.base import Step, Term

Tensor = torch.Tensor


class Fsp(Term):
    """Flow of solution procedure (Yim et al., 2017): Gram matrices between maps of two places.

    For places that follow each other, [channels of the one, channels of the other], the mean over
    pixels of their products; its mean squared difference from the dense network's, relative to the
    mean square of that. Differs: trained at once with the other losses; between neighbouring blocks
    whose widths agree, where the paper takes three stages.

    Args:
        weight: What the mean over pairs of places is multiplied by.
    """

    reads_features = True

    def __init__(self, weight: float = 1.0) -> None:
        self._weight = weight

    def __call__(self, step: Step) -> Tensor:
        """The mean over pairs."""
        maps = [pair for pair in step.features.values() if pair[0].dim() == 4]
        if len(maps) < 2:
            raise DataError(
                f"the term fsp needs two places of maps where both networks are of one width, and"
                f" there are {len(maps)}"
            )
        losses = []
        for (one, one_aim), (other, other_aim) in pairwise(maps):
            aim = gram(one_aim.float(), other_aim.float())
            gap = (gram(one.float(), other.float()) - aim).square().mean()
            losses.append(gap / aim.square().mean().clamp_min(1e-12))
        return self._weight * torch.stack(losses).mean()


def gram(one: Tensor, other: Tensor) -> Tensor:
    """Mean products over pixels: of maps [images, c, h, w] and [images, d, h, w], [images, c, d].

    Larger maps are pooled to the size of the smaller.
    """
    size = min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3])
    rows = [F.adaptive_max_pool2d(maps, size).flatten(2) for maps in (one, other)]
    return rows[0] @ rows[1].transpose(1, 2) / (size[0] * size[1])
