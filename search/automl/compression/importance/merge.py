"""Merge: the channel most like another goes, and what reads it reads the other in its place.

Source: Srinivas and Babu, Data-free Parameter Pruning for Deep Neural Networks, 2015. Differs:
where several layers write or read a channel, what each says is relative to its mean, and summed. No
data is read, neither to rank channels nor to make up for them: its compensation is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import PruningOrder, Reader, RemovedBlock
from automl.network import ChannelGroup

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Merged:
    """One channel that goes.

    Attributes:
        gone: It.
        into: The one that stands for it.
        saliency: What that is estimated to cost.
    """

    gone: int
    into: int
    saliency: float


class Merge(Importance):
    """Merges channels whose filters are alike, those that are read least first."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels as they are merged into others."""
        return torch.tensor(_order(_merged(group, readers, statistics), group.channels))

    def eliminate(
        self,
        group: ChannelGroup,
        readers: Sequence[Reader],
        counts: Sequence[int],
        statistics: ChannelStatistics,
    ) -> PruningOrder:
        """Merge channels: weights that read one are added to those that read the other.

        The error is the summed saliency, an estimate.
        """
        merged = _merged(group, readers, statistics)
        going = merged[: group.channels - min(counts)]
        error = {
            count: sum(each.saliency for each in merged[: group.channels - count])
            for count in counts
        }
        removed = tuple((_block(reader, going),) if going else () for reader in readers)
        return PruningOrder(tuple(_order(merged, group.channels)), removed, error)


def _merged(
    group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
) -> list[Merged]:
    """All channels but one, the first to go first."""
    filters = statistics.filters(group, biases=True)
    apart = distances(filters) if filters else torch.ones(group.channels, group.channels)
    read = [
        reader.weight.double()[:, reader.columns].permute(1, 0, 2).flatten(1) for reader in readers
    ]
    scales = [each.square().sum(1).mean().clamp_min(1e-30) for each in read]
    alive, found = torch.ones(group.channels, dtype=torch.bool), list[Merged]()
    apart = apart.double().fill_diagonal_(torch.inf)
    for _ in range(group.channels - 1):
        sizes = sum(each.square().sum(1) / by for each, by in zip(read, scales, strict=True))
        saliency = torch.as_tensor(sizes).unsqueeze(1) * apart  # of what goes, by what it goes into
        saliency = torch.where(saliency.isnan(), torch.inf, saliency)
        at = int(saliency.argmin())
        gone, into = divmod(at, group.channels)
        if not alive[gone] or gone == into:  # all that is left is told apart by nothing
            gone, into = alive.nonzero().flatten()[:2].flip(0).tolist()
        found.append(Merged(gone, into, float(saliency[gone, into])))
        alive[gone] = False
        for each in read:
            each[into] += each[gone]
        apart[gone] = apart[:, gone] = torch.inf
    return found


def distances(filters: Sequence[Tensor]) -> Tensor:
    """Squared distances of channels' filters, of each layer relative to a filter's mean square."""
    total = torch.zeros((), dtype=torch.float64)
    for each in filters:
        scale = each.double().square().sum(1).mean().clamp_min(1e-30)
        total = total + torch.cdist(each.double(), each.double()).square() / scale
    return total


def _order(merged: Sequence[Merged], channels: int) -> list[int]:
    gone = [each.gone for each in merged]
    return [*gone, *sorted({*range(channels)} - {*gone})]


def _block(reader: Reader, going: Sequence[Merged]) -> RemovedBlock:
    """A column that goes is subtracted from itself, and added to the one that stands for it."""
    columns = reader.columns[[each.gone for each in going]]
    others = reader.columns[[each.into for each in going]].flatten()
    rows = torch.zeros(columns.numel(), reader.weight.shape[1])
    number = torch.arange(columns.numel())
    rows[number, columns.flatten()] = 1.0
    rows[number, others] = -1.0
    return RemovedBlock(columns, rows)
