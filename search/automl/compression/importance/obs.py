"""Structured Optimal Brain Surgeon: which channels go, and what the remaining weights become.

Removing a channel's columns S from a matrix W that reads inputs with second moments H costs
tr(W_S (H^-1_SS)^-1 W_S^T), when the rest is updated by least squares; the cheapest goes first, and
H^-1 is updated by block elimination. Source: Hassibi & Stork 1993; structured as in Kurtic et al.
2023 (ZipLM). Differs: a channel that several layers read is judged by the sum of their
errors, each relative to the energy of its outputs; the bias is refitted with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Tensor = torch.Tensor


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


def eliminate(
    readers: Sequence[Reader], counts: Sequence[int], *, damping: float = 1e-4, step: int = 1
) -> PruningOrder:
    """Remove a group's channels one after another, cheapest first.

    Args:
        readers: All matrices that read the group.
        counts: Kept counts whose weights are wanted.
        damping: Added to the moments' diagonal, relative to its mean.
        step: How many channels go between two updates of the scores (1 is exact).
    """
    channels = readers[0].columns.shape[0]
    states = [_State(reader, damping) for reader in readers]
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
        if not going:  # in steps from the top, so that the order is the same whatever is wanted
            scores = torch.stack([state.scores() for state in states]).sum(0)
            scores[~alive] = torch.inf
            chosen = scores.topk(min(step, left), largest=False)
            going = list(zip(chosen.indices.tolist(), chosen.values.tolist(), strict=True))
        channel, sensitivity = going.pop(0)
        total += sensitivity
        for state in states:
            state.remove(channel)
        alive[channel] = False
        order.append(channel)
    rest = alive.nonzero().flatten().tolist()
    return PruningOrder((*order, *rest), weights, error)


class _State:
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
        """Output error, relative to the dense output's energy, of removing each channel next."""
        index = self._columns
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
