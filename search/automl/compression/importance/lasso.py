"""LASSO: channels by the penalty under which each first takes part in rebuilding the outputs.

Source: He et al., Channel Pruning for Accelerating Very Deep Neural Networks, 2017. Differs: the
whole path of the penalty is followed exactly (as LARS does, Efron et al., 2004) in place of a
penalty raised until few enough channels are left, so that one order serves all counts; a channel
that the path drops and takes up again counts from then on. All readers of a channel share its
factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.uncompensated import summed_gram
from automl.network import ChannelGroup

Tensor = torch.Tensor
#: Added to the diagonal, relative to its mean: channels that are alike have a solution too.
_DAMPING: Final = 1e-6
#: Steps of the path, for each channel.
_STEPS: Final = 8


class Lasso(Importance):
    """Factors of channels under a falling L1 penalty."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels from the last that takes part to the first."""
        return torch.tensor(lasso_path(summed_gram(readers))[::-1])


def lasso_path(gram: Tensor) -> list[int]:
    """Channels in the order in which their factors leave zero.

    Factors b of least b Q b / 2 - b Q 1 + penalty |b|, whose best without a penalty are all one.
    What never leaves zero comes last, the smallest at the end.

    Args:
        gram: Q, what pairs of channels add to the outputs: [channels, channels].
    """
    channels = len(gram)
    damped = gram + _DAMPING * gram.diagonal().mean() * torch.eye(channels, dtype=gram.dtype)
    left = gram.sum(1)  # of the gradient at these factors
    factors = torch.zeros(channels, dtype=gram.dtype)
    penalty, floor = float(left.abs().max()), 1e-9 * float(left.abs().max())
    active = [int(left.abs().argmax())]
    for _ in range(_STEPS * channels):
        if penalty <= floor or len(active) == channels:
            break
        signs = left[active].sign()
        slope = torch.linalg.solve(damped[active][:, active], signs)
        across = damped[:, active] @ slope
        enters = _entering(left, across, penalty, active)
        leaves = -factors[active] / slope
        leaves[leaves <= 1e-12 * penalty] = torch.inf
        step = min(float(enters.min()), float(leaves.min()), penalty)
        factors[active] += step * slope
        left = left - step * across
        penalty -= step
        if step == float(leaves.min()):
            gone = active.pop(int(leaves.argmin()))
            factors[gone] = 0.0
        elif step == float(enters.min()):
            active.append(int(enters.argmin()))
    never = [
        each for each in gram.diagonal().argsort(descending=True).tolist() if each not in active
    ]
    return [*active, *never]


def _entering(left: Tensor, across: Tensor, penalty: float, active: Sequence[int]) -> Tensor:
    """How far the penalty falls until each other channel takes part: [channels], or infinite."""
    positive = (penalty - left) / (1 - across)
    negative = (penalty + left) / (1 + across)
    found = torch.stack([positive, negative])
    found[~(found > 1e-12 * penalty)] = torch.inf
    steps = found.amin(0)
    steps[list(active)] = torch.inf
    return steps
