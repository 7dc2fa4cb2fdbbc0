"""Taylor: the channel whose removal changes the loss least, to first order, goes first.

Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference,
2017. Differs: a channel is judged by all of its readers together, whose first orders are summed
before their magnitude is taken, for it goes from all at once; the price of a channel is a matter of
the search, and no training goes on between removals.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Taylor(ScoredImportance):
    """Mean magnitude over images of what the loss makes of a channel, to first order."""

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The mean magnitude."""
        return statistics.gradients(group, "loss").double().abs().mean(0)
