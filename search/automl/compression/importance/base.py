"""What an importance is: it says which channels of a group go first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from automl.compression.importance.elimination import (
    PruningOrder,
    Reader,
    in_order,
    remove_channels,
)
from automl.compression.statistics import Features
from automl.errors import PruningError
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Importance(ABC):
    """Ranks the channels of a group.

    An order is enough: whatever it is, the weights that read what stays are updated by least
    squares. The same arguments give the same order, whatever was ranked before.
    """

    @abstractmethod
    def order(self, group: ChannelGroup, readers: Sequence[Reader], statistics: Features) -> Tensor:
        """Channels of a group, the least important first: integers [channels].

        Args:
            group: Whose channels are ranked.
            readers: All matrices that read the group; they are not to be changed.
            statistics: Of the dense network on the calibration inputs.
        """

    def eliminate(
        self,
        group: ChannelGroup,
        readers: Sequence[Reader],
        counts: Sequence[int],
        statistics: Features,
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
        order = [int(channel) for channel in self.order(group, readers, statistics)]
        if sorted(order) != list(range(group.channels)):
            raise PruningError(
                f"{type(self).__name__} does not order the {group.channels} channels of "
                f"{group.name}, each once: {len(order)} given, {len(set(order))} different"
            )
        return remove_channels(readers, counts, in_order(order))
