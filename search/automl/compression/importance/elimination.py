"""Channels removed one after another, the weights that stay updated by least squares each time.

Removing a channel's columns S from a matrix W that reads inputs with second moments H costs
tr(W_S (H^-1_SS)^-1 W_S^T), when the rest is updated by least squares; H^-1 is updated by block
elimination. Source: Hassibi & Stork 1993; structured as in Kurtic et al. 2023 (ZipLM). Differs: the
bias is refitted with the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Tensor = torch.Tensor
#: Added to the moments' diagonal, relative to its mean.
DAMPING = 1e-4


@dataclass(slots=True)
class Reader:
    """One matrix that reads the channels of a group.

    Attributes:
        weight: [outputs, columns + 1], the bias last.
        moments: [columns + 1, columns + 1], mean over rows.
        columns: [channels of the group, columns of each]: which columns belong to which channel.
    """

    weight: Tensor
    moments: Tensor
    columns: Tensor


@dataclass(frozen=True, slots=True)
class PruningOrder:
    """The result: the order of removal, and the readers' weights at the counts asked for.

    Attributes:
        order: Channels in the order in which they go.
        weights: Per count of kept channels, one matrix a reader (removed columns are zero).
        error: Per count, the summed relative output error.
    """

    order: tuple[int, ...]
    weights: dict[int, list[Tensor]]
    error: dict[int, float]

    def kept(self, count: int) -> Tensor:
        """Ascending indices of the channels that stay when `count` do."""
        gone = self.order[: len(self.order) - count]
        mask = torch.ones(len(self.order), dtype=torch.bool)
        mask[list(gone)] = False
        return mask.nonzero().flatten()


class ReaderState:
    """A reader's weights and inverse moments while channels go."""

    def __init__(self, reader: Reader, damping: float) -> None:
        moments = reader.moments.double()
        energy = torch.einsum("oc,cd,od->", reader.weight.double(), moments, reader.weight.double())
        self._scale = 1.0 / max(float(energy), 1e-12)
        ridge = damping * moments.diagonal()[:-1].mean().clamp_min(1e-12)
        eye = torch.eye(moments.shape[0], dtype=torch.float64)
        self.inverse = torch.linalg.inv(moments + ridge * eye)
        self.weight = reader.weight.double().clone()
        self._columns = reader.columns

    def scores(self) -> Tensor:
        """[channels]: output error of removing each next, relative to the dense output's energy."""
        return self._scores(self._columns)

    def score(self, channel: int) -> float:
        """Output error of removing one channel next."""
        return float(self._scores(self._columns[channel : channel + 1]))

    def _scores(self, index: Tensor) -> Tensor:
        block = self.inverse[index.unsqueeze(2), index.unsqueeze(1)]
        part = self.weight[:, index].permute(1, 2, 0)  # channels, columns of each, outputs
        solved: Tensor = torch.linalg.solve(block + self._gone(block), part)
        sensitivity: Tensor = (part * solved).sum((1, 2)) * self._scale
        return sensitivity

    def remove(self, channel: int) -> None:
        """Eliminate one channel's columns."""
        index = self._columns[channel]
        across = self.inverse[index]
        solved = torch.linalg.solve(across[:, index], across)
        self.weight -= self.weight[:, index] @ solved
        self.inverse -= across.T @ solved
        self.weight[:, index] = 0.0
        self.inverse[index] = 0.0
        self.inverse[:, index] = 0.0

    @staticmethod
    def _gone(block: Tensor) -> Tensor:
        empty = block.diagonal(dim1=1, dim2=2) == 0  # eliminated columns: any regular block will do
        return torch.diag_embed(empty.to(block.dtype))


#: From the readers as they are, and which channels are left [channels], the ones to go next, each
#: with its output error.
Choose = Callable[[Sequence[ReaderState], Tensor], list[tuple[int, float]]]


def remove_channels(
    readers: Sequence[Reader],
    counts: Sequence[int],
    choose: Choose,
    *,
    damping: float = DAMPING,
) -> PruningOrder:
    """Remove a group's channels one after another, as somebody chooses.

    Args:
        readers: All matrices that read the group.
        counts: Kept counts whose weights are wanted.
        choose: Asked for the next channels whenever those that it named before are gone.
        damping: Added to the moments' diagonal, relative to its mean.
    """
    channels = readers[0].columns.shape[0]
    states = [ReaderState(reader, damping) for reader in readers]
    alive = torch.ones(channels, dtype=torch.bool)
    order: list[int] = []
    weights: dict[int, list[Tensor]] = {}
    error: dict[int, float] = {}
    wanted, lowest, total = set(counts), min(counts), 0.0
    going: list[tuple[int, float]] = []
    while True:
        left = channels - len(order)
        if left in wanted:
            weights[left] = [state.weight.float().clone() for state in states]
            error[left] = total
        if left <= lowest:
            break
        if not going:
            going = choose(states, alive)
        channel, sensitivity = going.pop(0)
        total += sensitivity
        for state in states:
            state.remove(channel)
        alive[channel] = False
        order.append(channel)
    rest = alive.nonzero().flatten().tolist()
    return PruningOrder((*order, *rest), weights, error)


def in_order(order: Sequence[int]) -> Choose:
    """Chooses channels in an order that is known beforehand, the first one first."""
    waiting = iter(order)

    def choose(states: Sequence[ReaderState], alive: Tensor) -> list[tuple[int, float]]:
        channel = next(waiting)
        return [(channel, sum(state.score(channel) for state in states))]

    return choose
