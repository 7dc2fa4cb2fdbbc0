"""APoZ: the channel that is zero at most places behind its ReLU goes first.

Source: Hu et al., Network Trimming, 2016. Differs: the weights that stay are updated in place of
training between removals; where a residual stream is read behind several ReLUs, the share is the
mean over these. A group that no ReLU is before, as a linear bottleneck's, goes by the magnitude of
its values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.activation import Activation
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import ScoredImportance
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Apoz(ScoredImportance):
    """Average percentage of zeros."""

    def scores(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Minus the share of places that are zero."""
        rectified = [each for each in statistics.activations(group) if each.rectified]
        if not rectified:
            return Activation().scores(group, readers, statistics)
        return -torch.stack([each.zeros.double().mean(0) for each in rectified]).mean(0)
