"""L1: the filter whose weights are smallest in sum of magnitudes goes first.

Source: Li et al., Pruning Filters for Efficient ConvNets, 2017. Differs: batch norms are folded, so
a filter is what is computed with; where several layers write a channel (a residual stream) their
sums are added, each relative to the layer's mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance, alike, filters_or_columns
from automl.network import ChannelGroup

Tensor = torch.Tensor


class L1(ScoredImportance):
    """Sum of magnitudes of a channel's filter, its bias left out."""

    @property
    def ranks_pieces(self) -> bool:
        """Filters are all that it reads."""
        return True

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The sum, over the layers that write the channel."""
        filters = filters_or_columns(group, readers, statistics)
        return alike(each.abs().sum(1) for each in filters)
