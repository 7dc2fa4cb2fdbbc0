"""ThiNet: the channel goes next that leaves the least error together with those that went.

Source: Luo et al., ThiNet, 2017. Differs: the error is of all sampled places of what all readers of
a channel write, from second moments, each reader's relative to the energy of its outputs; the scale
of what stays is a matter of the reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.uncompensated import summed_gram
from automl.network import ChannelGroup

Tensor = torch.Tensor


class Thinet(Importance):
    """Greedy removal by the joint output error, nothing compensated while it is chosen."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels as they go."""
        return greedy_removal(summed_gram(readers))


def greedy_removal(gram: Tensor) -> Tensor:
    """Each next the one that adds least to the sum over all pairs of those that went.

    Args:
        gram: What pairs of channels add to the error: [channels, channels].
    """
    adds, order = gram.diagonal().clone(), list[int]()
    for _ in range(len(gram)):
        going = int(adds.argmin())
        order.append(going)
        adds += 2 * gram[:, going]
        adds[order] = torch.inf
    return torch.tensor(order)
