"""Wins: the piece of a maxout unit that is the largest least often goes first.

Source: Rueda et al., Neuron Pruning for Compressing Deep Networks Using Maxout Architectures, 2017.
Differs: all units keep equally many pieces, as a view into units needs it; wins are counted once,
not anew between trainings; units themselves, and channels of layers without maxout, go by
second-order error (`obs`). No other weights are changed where a piece goes: the largest of several
values is not linear in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import PruningOrder, Reader
from automl.compression.importance.obs import Obs
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Wins(Importance):
    """How often a piece is the largest of its unit; the pieces themselves: `pieces`."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels that weights read, by second-order error."""
        return Obs().order(group, readers, statistics)

    def eliminate(
        self,
        group: ChannelGroup,
        readers: Sequence[Reader],
        counts: Sequence[int],
        statistics: ChannelStatistics,
    ) -> PruningOrder:
        """Channels that weights read, by second-order error."""
        return Obs().eliminate(group, readers, counts, statistics)
