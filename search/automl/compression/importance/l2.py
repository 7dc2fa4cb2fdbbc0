"""L2: the filter whose weights are shortest as a vector goes first.

Source: He et al., Soft Filter Pruning, 2018 (its criterion alone). Differs: batch norms are folded,
so a filter is what is computed with; where several layers write a channel (a residual stream) their
lengths are added, each relative to the layer's mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance, alike, filters_or_columns
from automl.network import ChannelGroup

Tensor = torch.Tensor


class L2(ScoredImportance):
    """Length of a channel's filter, its bias left out."""

    @property
    def ranks_pieces(self) -> bool:
        """Filters are all that it reads."""
        return True

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The length, over the layers that write the channel."""
        filters = filters_or_columns(group, readers, statistics)
        return alike(each.norm(dim=1) for each in filters)
