"""Channels that go with nothing done about it: what they add to each output, and removal alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from automl.compression.importance.elimination import PruningOrder, Reader, RemovedBlock

Tensor = torch.Tensor
#: Columns that are multiplied with all others at once.
_BLOCK: Final = 512


def output_gram(reader: Reader, *, centred: bool = False) -> Tensor:
    """Mean products of what two channels add to the outputs, summed over outputs: float64
    [channels, channels], relative to the dense outputs' energy.

    The error where a set of channels goes is the sum over all pairs within the set.

    Args:
        reader: The matrix.
        centred: Whether the channels' means are taken out: what stays is covariances.
    """
    moments, weight = reader.moments.double(), reader.weight.double()
    energy = float(((weight @ moments) * weight).sum())
    mean = moments[:, -1]
    if centred:
        moments = moments - torch.outer(mean, mean)
    channels, times = reader.columns.shape
    flat = reader.columns.flatten()
    own = weight[:, flat]
    result = torch.zeros(channels, channels, dtype=torch.float64)
    step = max(1, _BLOCK // times)
    for first in range(0, channels, step):
        some = reader.columns[first : first + step].flatten()
        product = (weight[:, some].mT @ own) * moments[some][:, flat]
        result[first : first + step] = product.view(-1, times, channels, times).sum((1, 3))
    return result / max(energy, 1e-12)


def summed_gram(readers: Sequence[Reader], *, centred: bool = False) -> Tensor:
    """`output_gram` of all readers of a group, summed."""
    return torch.stack([output_gram(reader, centred=centred) for reader in readers]).sum(0)


def remove_alone(
    readers: Sequence[Reader], counts: Sequence[int], order: Sequence[int]
) -> PruningOrder:
    """Remove channels in an order; what reads the others stays as it is.

    Args:
        readers: All matrices that read the group.
        counts: Kept counts that are wanted.
        order: All channels, the first to go first.
    """
    gram = summed_gram(readers)[list(order)][:, list(order)]
    sums = gram.cumsum(0).cumsum(1).diagonal()
    channels = len(order)
    error = {
        count: float(sums[channels - count - 1]) if count < channels else 0.0 for count in counts
    }
    going = list(order[: channels - min(counts)])
    removed = tuple(
        (RemovedBlock(reader.columns[going], None),) if going else () for reader in readers
    )
    return PruningOrder(tuple(order), removed, error)
