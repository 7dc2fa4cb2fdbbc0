"""Importances that give each channel a number: the smallest goes first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.network import ChannelGroup

Tensor = torch.Tensor


class ScoredImportance(Importance):
    """Ranks channels by a number each."""

    @abstractmethod
    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """A number a channel, the smallest for what goes first: [channels].

        Args:
            group: Whose channels are ranked.
            readers: All matrices that read the group; they are not to be changed.
            statistics: Of the dense network on the calibration inputs.
        """

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels by their numbers; those of equal ones as they stand."""
        return self.scores(group, readers, statistics).argsort(stable=True)


def relative(values: Tensor) -> Tensor:
    """Numbers that are not negative, relative to their mean: layers of any scale count alike."""
    return values.double() / values.double().mean().clamp_min(1e-30)


def alike(parts: Iterable[Tensor]) -> Tensor:
    """Numbers of several layers, each relative to its mean, summed."""
    return torch.stack([relative(part) for part in parts]).sum(0)


def filters_or_columns(
    group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
) -> tuple[Tensor, ...]:
    """Weights by which a channel is written: each [channels, numbers].

    Where no layer with weights writes the group, those by which it is read.
    """
    found = statistics.filters(group)
    if found:
        return found
    return tuple(reader.weight[:, reader.columns].permute(1, 2, 0).flatten(1) for reader in readers)
