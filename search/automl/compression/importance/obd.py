"""Optimal Brain Damage: saliencies of weights by a diagonal Hessian; a channel's are summed.

Source: LeCun et al., Optimal Brain Damage, 1989. Differs: the Hessian is that of the layer's
squared output error, whose diagonal is that of its inputs' second moments; a channel goes whole,
with the sum of its weights' saliencies in all readers, of each relative to its outputs' energy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Obd(ScoredImportance):
    """Sum of the saliencies of the weights that read a channel."""

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The sum, over readers."""
        total = torch.zeros(group.channels, dtype=torch.float64)
        for reader in readers:
            weight, moments = reader.weight.double(), reader.moments.double()
            energy = ((weight @ moments) * weight).sum().clamp_min(1e-12)
            each = saliency(weight, moments)[:, reader.columns] / energy
            total += each.sum((0, 2))
        return total


def saliency(weight: Tensor, moments: Tensor) -> Tensor:
    """What each weight's removal adds to the output error, the others as they are: h w^2 / 2.

    Args:
        weight: [outputs, columns].
        moments: Second moments of what it reads, [columns, columns].
    """
    return moments.diagonal() * weight.square() / 2
