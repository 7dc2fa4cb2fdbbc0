"""FPGM: the filter nearest to all the others goes first, for these can stand for it.

Source: He et al., Filter Pruning via Geometric Median, 2019. Differs: batch norms are folded; where
several layers write a channel (a residual stream) their sums of distances are added, each relative
to the layer's mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance, alike, filters_or_columns
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Fpgm(ScoredImportance):
    """Sum of a filter's distances from the others of its layer."""

    @property
    def ranks_pieces(self) -> bool:
        """Filters are all that it reads."""
        return True

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The sum, over the layers that write the channel."""
        filters = filters_or_columns(group, readers, statistics)
        return alike(torch.cdist(each.double(), each.double()).sum(1) for each in filters)
