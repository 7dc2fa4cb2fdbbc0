"""LDA: the channel that tells classes apart least, for how much it varies within them, goes first.

Source: Tian et al., Deep LDA-Pruned Nets for Efficient Facial Gender Classification, 2017. Differs:
the ratio is taken of every group, there of the last convolution, from which dependence is traced
back; where several layers read a channel in several values, the largest ratio counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Lda(ScoredImportance):
    """Scatter between classes over that within them, of a channel's largest value in an image."""

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The largest ratio of the values in which the channel is read."""
        targets = statistics.targets.long()
        found = [separation(each.highest, targets) for each in statistics.activations(group)]
        return torch.stack(found).amax(0)


def separation(values: Tensor, classes: Tensor) -> Tensor:
    """Scatter of class means over scatter within classes, of values [images, channels]: [channels].

    0 of what does not vary at all.
    """
    values = values.double()
    kinds, index = classes.unique(return_inverse=True)
    sums = torch.zeros(len(kinds), values.shape[1], dtype=torch.float64).index_add_(
        0, index, values
    )
    counts = index.bincount().unsqueeze(1)
    means = sums / counts
    between = (counts * (means - values.mean(0)).square()).sum(0)
    within = (values - means[index]).square().sum(0)
    floor = 1e-6 * (between + within).mean().clamp_min(1e-30)
    ratio: Tensor = between / (within + floor)
    return ratio
