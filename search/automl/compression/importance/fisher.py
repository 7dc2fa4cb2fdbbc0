"""Fisher: the channel whose removal changes the outputs least, to first order, goes first.

Source: Theis et al., Faster Gaze Prediction with Dense Networks and Fisher Pruning, 2018. Differs:
in place of a loss on labels each image's outputs are projected on signs drawn for it, so that the
squares' mean is the squared error of the outputs, to first order: no labels are read. A channel is
judged by all of its readers together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Fisher(ScoredImportance):
    """Mean square over images of what projected outputs make of a channel, to first order."""

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The mean square."""
        return statistics.gradients(group, "logits").double().square().mean(0)
