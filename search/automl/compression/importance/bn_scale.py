"""Batch-norm scale: the channel whose batch norm multiplies it by least goes first.

Source: Liu et al., Network Slimming, 2017 (its criterion; the L1 pull on scales is a matter of
training). Differs: scales are those from before the norms were folded; where several norms write a
channel (a residual stream) their magnitudes are summed, each relative to the layer's mean. A group
that no norm writes goes by the length of its filters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.l2 import L2
from automl.compression.importance.scored import ScoredImportance, alike
from automl.network import ChannelGroup

Tensor = torch.Tensor


class BnScale(ScoredImportance):
    """Magnitude of the scale of a channel's batch norm."""

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The magnitude, over the norms that write the channel."""
        scales = statistics.norm_scales(group)
        if not scales:
            return L2().scores(group, readers, statistics)
        return alike(each.abs() for each in scales)
