"""Entropy: the channel whose pooled value tells images apart least goes first.

Source: Luo and Wu, An Entropy-based Pruning Method for CNN Compression, 2017. Differs: where
several layers read a channel in several values (a residual stream), their entropies are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance
from automl.errors import UsageError
from automl.network import ChannelGroup

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Entropy(ScoredImportance):
    """Entropy over images of a channel's mean over places.

    Attributes:
        bins: Of equal width, from the layer's least value to its largest.

    Raises:
        UsageError: Fewer than two bins.
    """

    bins: int = 100

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise UsageError(f"entropy takes at least 2 bins, not {self.bins}")

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The entropy, over the values in which the channel is read."""
        found = [entropy(each.mean, self.bins) for each in statistics.activations(group)]
        return torch.stack(found).sum(0)


def entropy(values: Tensor, bins: int) -> Tensor:
    """Entropy in nats of each channel's values [images, channels], in bins that all share."""
    low, high = values.min(), values.max()
    width = ((high - low) / bins).clamp_min(1e-30)
    number = ((values - low) / width).long().clamp(0, bins - 1)
    counts = torch.zeros(values.shape[1], bins, dtype=torch.float64)
    counts.scatter_add_(1, number.T, torch.ones_like(number.T, dtype=torch.float64))
    shares = counts / values.shape[0]
    found: Tensor = -torch.special.xlogy(shares, shares).sum(1)
    return found
