"""Particles: a population of masks, drawn anew by how well the network does with each.

Source: Anwar, Hwang and Sung, Structured Pruning of Deep Convolutional Neural Networks, 2017 (the
evolutionary particle filter). Differs: masks are of one group and leave out half of its channels; a
mask's likelihood is by the error of the outputs it leaves, without labels; the order for all counts
is the best mask, its channels by how many particles leave them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.random import generator_for, half_error
from automl.errors import UsageError
from automl.network import ChannelGroup

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Particles(Importance):
    """Orders whose first half is left out, drawn anew by what that does to the outputs.

    Attributes:
        particles: How many at once.
        rounds: How often they are drawn anew.

    Raises:
        UsageError: Fewer than two particles, or no rounds.
    """

    particles: int = 12
    rounds: int = 4

    def __post_init__(self) -> None:
        if self.particles < 2 or self.rounds < 1:
            raise UsageError(
                "particles takes at least 2 particles and 1 of rounds, not"
                f" {self.particles} and {self.rounds}"
            )

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """The best mask's channels, those that most particles leave out first."""
        generator, half = generator_for(group, statistics), group.channels // 2
        orders = [
            torch.randperm(group.channels, generator=generator) for _ in range(self.particles)
        ]
        best, least = orders[0], torch.inf
        belief = torch.zeros(group.channels, dtype=torch.float64)
        for _ in range(self.rounds):
            errors = torch.tensor([half_error(each, group, statistics) for each in orders]).double()
            if float(errors.min()) < least:
                best, least = orders[int(errors.argmin())], float(errors.min())
            likely = likelihoods(errors)
            for each, share in zip(orders, likely, strict=True):
                belief[each[:half]] += share
            drawn = likely.multinomial(self.particles - 1, replacement=True, generator=generator)
            orders = [best, *(moved(orders[at], half, generator) for at in drawn.tolist())]
        first, rest = best[:half], best[half:]
        by_belief = [
            part[belief[part].argsort(descending=True, stable=True)] for part in (first, rest)
        ]
        return torch.cat(by_belief)


def likelihoods(errors: Tensor) -> Tensor:
    """Of particles, from their errors: their sum is one."""
    spread = (errors - errors.min()).mean().clamp_min(1e-12)
    return (-(errors - errors.min()) / spread).softmax(0)


def moved(order: Tensor, half: int, generator: torch.Generator) -> Tensor:
    """An order some of whose channels have changed halves: an eighth, at least one."""
    count = max(1, half // 8)
    if not half:
        return order
    out = torch.randperm(half, generator=generator)[:count]
    back = half + torch.randperm(len(order) - half, generator=generator)[:count]
    changed = order.clone()
    changed[out], changed[back] = order[back], order[out]
    return changed
