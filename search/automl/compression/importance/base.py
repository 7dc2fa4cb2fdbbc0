"""What an importance is: it says which channels of a group go first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import (
    PruningOrder,
    Reader,
    in_order,
    remove_channels,
)
from automl.compression.importance.pieces import remove_pieces
from automl.compression.importance.uncompensated import remove_alone
from automl.errors import PruningError
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Importance(ABC):
    """Ranks the channels of a group.

    An order is enough: whatever it is, the weights that read what stays are updated by least
    squares, or left alone. The same arguments give the same order, whatever was ranked before.
    """

    @property
    def ranks_pieces(self) -> bool:
        """Whether `order` asks for no readers and no walk, so that it can rank pieces of maxout
        units, which no weights read; other importances leave these to their wins (`pieces`).
        """
        return False

    @abstractmethod
    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels of a group, the least important first: integers [channels].

        Args:
            group: Whose channels are ranked.
            readers: All matrices that read the group; they are not to be changed.
            statistics: Of the dense network on the calibration inputs, collected when asked for.
        """

    def eliminate(
        self,
        group: ChannelGroup,
        readers: Sequence[Reader],
        counts: Sequence[int],
        statistics: ChannelStatistics,
    ) -> PruningOrder:
        """Remove the channels of a group in this order; one that looks at what is left overrides.

        Args:
            group: Whose channels go.
            readers: All matrices that read the group.
            counts: Kept counts whose weights are wanted.
            statistics: As for `order`.

        Raises:
            PruningError: The order does not name each channel once.
        """
        order = checked_order(self, group, readers, statistics)
        return remove_channels(readers, counts, in_order(order))


def remove(
    importance: Importance,
    group: ChannelGroup,
    readers: Sequence[Reader],
    counts: Sequence[int],
    statistics: ChannelStatistics,
    *,
    compensation: bool = True,
) -> PruningOrder:
    """Remove the channels of a group as an importance says.

    Args:
        importance: What says so.
        group: Whose channels go.
        readers: All matrices that read the group.
        counts: Kept counts whose weights are wanted.
        statistics: Of the dense network.
        compensation: Whether the weights that stay make up for what goes; without it they are left
            alone.

    Raises:
        PruningError: The order does not name each channel once.
    """
    if group.units:
        return remove_pieces(group)
    if compensation:
        return importance.eliminate(group, readers, counts, statistics)
    order = checked_order(importance, group, readers, statistics)
    return remove_alone(readers, counts, order)


def checked_order(
    importance: Importance,
    group: ChannelGroup,
    readers: Sequence[Reader],
    statistics: ChannelStatistics,
) -> list[int]:
    """An importance's order of a group's channels.

    Raises:
        PruningError: It does not name each channel once.
    """
    order = [int(channel) for channel in importance.order(group, readers, statistics)]
    if sorted(order) != list(range(group.channels)):
        raise PruningError(
            f"{type(importance).__name__} does not order the {group.channels} channels of "
            f"{group.name}, each once: {len(order)} given, {len(set(order))} different"
        )
    return order
