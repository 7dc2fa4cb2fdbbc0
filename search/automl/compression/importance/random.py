"""Random: channels in an order that is drawn, the best of several where that is asked for.

Source: Anwar and Sung, Coarse Pruning of Convolutional Neural Networks with Random Masks, 2016.
Differs: masks are drawn group by group, orders in place of masks so that one serves all counts, and
the best is that of the least error of the outputs with half of the channels gone: no labels are
read.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.errors import UsageError
from automl.network import ChannelGroup

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Random(Importance):
    """An order that is drawn.

    Attributes:
        tries: How many are drawn; several are held against each other.

    Raises:
        UsageError: No tries.
    """

    tries: int = 1

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise UsageError(f"random takes at least 1 of tries, not {self.tries}")

    @property
    def ranks_pieces(self) -> bool:
        """Where it need not hold several orders against each other."""
        return self.tries == 1

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The best order of those that are drawn; the first where it is the only one."""
        generator = generator_for(group, statistics)
        orders = [torch.randperm(group.channels, generator=generator) for _ in range(self.tries)]
        if self.tries == 1:
            return orders[0]
        return min(orders, key=lambda order: half_error(order, group, statistics))


def generator_for(group: ChannelGroup, statistics: ChannelStatistics) -> torch.Generator:
    """What a group's orders are drawn by, whatever was drawn for others."""
    return torch.Generator().manual_seed(statistics.seed ^ zlib.crc32(group.name.encode()))


def half_error(order: Tensor, group: ChannelGroup, statistics: ChannelStatistics) -> float:
    """Error of the outputs where the first half of an order is gone."""
    kept = order[group.channels // 2 :].sort().values
    return statistics.output_error(group, kept)
