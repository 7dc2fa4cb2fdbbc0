"""Correlation: the channel that correlates least with what its readers write goes first.

Source: Sun et al., Sparsifying Neural Network Connections for Face Recognition, 2016. Differs:
single connections are dropped there, here a channel with all of its own, by the mean magnitude of
their correlations over the outputs of all its readers; of a kernel's taps each is a connection.
What a reader writes is taken before its ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Correlation(ScoredImportance):
    """Mean magnitude of a channel's correlations with the outputs of what reads it."""

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The mean over outputs and taps, summed over readers."""
        total = torch.zeros(group.channels, dtype=torch.float64)
        for reader in readers:
            found = correlations(reader.weight.double(), reader.moments.double())
            total += found.abs()[:, reader.columns].mean((0, 2))
        return total


def correlations(weight: Tensor, moments: Tensor) -> Tensor:
    """Of each input with each output: [outputs, columns]; 0 of what does not vary.

    Args:
        weight: [outputs, columns], the bias last.
        moments: Second moments of what it reads and of one, [columns, columns].
    """
    mean = moments[:, -1]
    covariance = moments - torch.outer(mean, mean)
    across = weight @ covariance
    inputs = covariance.diagonal().clamp_min(0.0)
    outputs = (across * weight).sum(1).clamp_min(0.0)
    scale = torch.outer(outputs, inputs).sqrt()
    return torch.where(scale > 1e-9, across / scale.clamp_min(1e-9), 0.0)
