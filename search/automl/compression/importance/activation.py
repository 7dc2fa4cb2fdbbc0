"""Activation: the channel whose values are smallest goes first.

Source: the criterion that Molchanov et al., 2017, name and compare with (mean activation). Differs:
where several layers read a channel in several values (a residual stream), each value counts
relative to its mean over channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance, alike
from automl.errors import UsageError
from automl.network import ChannelGroup

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Activation(ScoredImportance):
    """Magnitude of a channel's values behind its ReLU.

    Attributes:
        pool: "mean" magnitude over images and places, or the "max" of an image, meaned over images.

    Raises:
        UsageError: Another pool.
    """

    pool: str = "mean"

    def __post_init__(self) -> None:
        if self.pool not in ("mean", "max"):
            raise UsageError(f"activation pools by mean or max, not by {self.pool!r}")

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The magnitude, over the values in which the channel is read."""
        mean = self.pool == "mean"
        return alike(
            (each.size if mean else each.highest.abs()).double().mean(0)
            for each in statistics.activations(group)
        )
