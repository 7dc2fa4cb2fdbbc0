"""Energy: channels come back one by one from nothing, each that lowers the joint output error most.

Source: Yang et al., Designing Energy-Efficient Convolutional Neural Networks using Energy-Aware
Pruning, 2017: weights are restored by the joint error of the outputs, then solved for by least
squares. Differs: channels are restored, not single weights, and from nothing, not from those of
large magnitude; the order of layers by energy is left to the search, which prices joules where a
target has them.
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


class Energy(Importance):
    """Greedy restoring by the joint output error."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels from the last that comes back to the first."""
        return greedy_restoring(summed_gram(readers)).flip(0)


def greedy_restoring(gram: Tensor) -> Tensor:
    """Each next the one that lowers most the sum over all pairs of those that are away.

    Args:
        gram: What pairs of channels add to the error: [channels, channels].
    """
    lowers, order = 2 * gram.sum(1) - gram.diagonal(), list[int]()
    for _ in range(len(gram)):
        back = int(lowers.argmax())
        order.append(back)
        lowers -= 2 * gram[:, back]
        lowers[order] = -torch.inf
    return torch.tensor(order)
