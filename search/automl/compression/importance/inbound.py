"""Inbound: the channel whose part in its readers' outputs varies least goes first.

Source: Polyak and Wolf, Channel-Level Acceleration of Deep Face Representations, 2015 (inbound
pruning). Differs: a channel goes from all filters of all its readers at once, so that it need not
be computed; variances are summed over these, of each reader relative to its outputs' energy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance
from automl.compression.importance.uncompensated import summed_gram
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Inbound(ScoredImportance):
    """Variance of what a channel adds to the outputs of what reads it."""

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The variance, summed over outputs and readers."""
        return summed_gram(readers, centred=True).diagonal()
