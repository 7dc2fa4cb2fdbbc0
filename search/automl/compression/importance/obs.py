"""Structured Optimal Brain Surgeon: the channel goes first whose loss the others compensate best.

Source: Hassibi & Stork 1993; structured as in Kurtic et al. 2023 (ZipLM). Differs: a channel that
several layers read is judged by the sum of their errors, each relative to the energy of its
outputs; the bias is refitted with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import (
    DAMPING,
    PruningOrder,
    Reader,
    ReaderState,
    remove_channels,
)
from automl.network import ChannelGroup

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Obs(Importance):
    """Structured Optimal Brain Surgeon: what stays is updated before the next channel is chosen.

    Attributes:
        damping: Added to the moments' diagonal, relative to its mean.
        updates: At most about so many updates of the scores in a group: wide ones lose several
            channels between two.
    """

    damping: float = DAMPING
    updates: int = 128

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels in the order of their elimination."""
        return torch.tensor(self.eliminate(group, readers, [1], statistics).order)

    def eliminate(
        self,
        group: ChannelGroup,
        readers: Sequence[Reader],
        counts: Sequence[int],
        statistics: ChannelStatistics,
    ) -> PruningOrder:
        """Remove the channels of a group, the cheapest of those that are left first."""
        step = max(1, group.channels // self.updates)
        return eliminate(readers, counts, damping=self.damping, step=step)


def eliminate(
    readers: Sequence[Reader], counts: Sequence[int], *, damping: float = DAMPING, step: int = 1
) -> PruningOrder:
    """Remove a group's channels one after another, cheapest first.

    Args:
        readers: All matrices that read the group.
        counts: Kept counts whose weights are wanted.
        damping: Added to the moments' diagonal, relative to its mean.
        step: How many channels go between two updates of the scores (1 is exact).
    """

    def cheapest(states: Sequence[ReaderState], alive: Tensor) -> list[tuple[int, float]]:
        # in steps from the top, so that the order is the same whatever is wanted
        scores = torch.stack([state.scores(alive) for state in states]).sum(0)
        chosen = scores.topk(min(step, len(scores)), largest=False)
        channels = alive.nonzero().flatten()[chosen.indices]
        return list(zip(channels.tolist(), chosen.values.tolist(), strict=True))

    return remove_channels(readers, counts, cheapest, damping=damping)
