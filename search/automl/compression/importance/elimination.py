"""Channels removed one after another, the weights that stay updated by least squares each time.

Removing a channel's columns S from a matrix W that reads inputs with second moments H costs
tr(W_S (H^-1_SS)^-1 W_S^T), when the rest is updated by least squares; H^-1 is updated by block
elimination. Source: Hassibi & Stork 1993; structured as in Kurtic et al. 2023 (ZipLM). Differs: the
bias is refitted with the weights; channels that are chosen together go together; and no weights are
kept. The elimination is a triangular factor of H^-1 in the order of removal, and the weights at any
count follow from it: half a matrix of columns by columns in place of a matrix of weights a count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from automl.compression.moments import RunMoments

Tensor = torch.Tensor
#: Added to the moments' diagonal, relative to its mean.
DAMPING = 1e-4
#: Columns that go before the matrix is made smaller: so many, or this share of all.
_BLOCK: Final = 512
_BLOCKS: Final = 8


@dataclass(slots=True)
class Reader:
    """One matrix that reads the channels of a group.

    Attributes:
        weight: [outputs, columns + 1], the bias last.
        total: [columns + 1, columns + 1], second moments of what it reads, summed over rows: the
            numbers, or where they are put together from.
        columns: [channels of the group, columns of each]: which columns belong to which channel.
        rows: How many rows the moments are summed over.
    """

    weight: Tensor
    total: Tensor | RunMoments
    columns: Tensor
    rows: int = 1

    @property
    def moments(self) -> Tensor:
        """Mean second moments, computed anew: in wide layers they take hundreds of megabytes."""
        if isinstance(self.total, RunMoments):
            return self.total.whole().div_(max(self.rows, 1))
        return self.total / max(self.rows, 1)


@dataclass(frozen=True, slots=True)
class RemovedBlock:
    """Columns of one reader that go one after another.

    Attributes:
        gone: [channels, columns of each], in the order in which they go.
        rows: A row for each of these columns: [removed, columns left before + 1], ascending, the
            bias last. A column goes when its weights times its row are subtracted. None where the
            weights that stay are left as they were.
    """

    gone: Tensor
    rows: Tensor | None


@dataclass(frozen=True, slots=True)
class PruningOrder:
    """The result: the order of removal, and how the readers' weights follow it.

    Attributes:
        order: Channels in the order in which they go.
        removed: Per reader, blocks of columns in the order in which they go.
        error: Per count that was asked for, the summed relative output error.
    """

    order: tuple[int, ...]
    removed: tuple[tuple[RemovedBlock, ...], ...]
    error: dict[int, float]

    def kept(self, count: int) -> Tensor:
        """Ascending indices of the channels that stay when `count` do."""
        gone = self.order[: len(self.order) - count]
        mask = torch.ones(len(self.order), dtype=torch.bool)
        mask[list(gone)] = False
        return mask.nonzero().flatten()

    def weights(self, count: int, dense: Sequence[Tensor]) -> Iterator[Tensor]:
        """The readers' weights when `count` channels stay; removed columns are zero.

        Args:
            count: Not below the least that was asked for.
            dense: Of the first readers, as many as are wanted, the weights before:
                [outputs, columns + 1], the bias last.
        """
        for weight, blocks in zip(dense, self.removed, strict=False):
            yield _without(weight, blocks, len(self.order) - count)


def _without(weight: Tensor, blocks: Sequence[RemovedBlock], channels: int) -> Tensor:
    """A reader's weights when so many channels are gone.

    The factor is triangular: what the columns of a block weigh when they go is solved for, then all
    of them go at once.
    """
    if not channels:
        return weight.clone()
    result = weight.to(torch.float64, copy=True)
    left = torch.ones(weight.shape[1], dtype=torch.bool)
    for block in blocks:
        columns = block.gone[:channels].flatten()
        channels -= min(channels, block.gone.shape[0])
        places = left.cumsum(0) - 1
        left[columns] = False
        if block.rows is not None:
            stay = left.nonzero().flatten()
            rows = block.rows[: columns.shape[0]].double()
            own = rows[:, places[columns]]
            going = torch.linalg.solve_triangular(
                own, result[:, columns], upper=True, left=False, unitriangular=True
            )
            result[:, stay] -= going @ rows[:, places[stay]]
        result[:, columns] = 0.0
        if not channels:
            break
    return result.to(weight.dtype)


class ReaderState:
    """A reader's weights and inverse moments while channels go.

    Both are of the columns that were left when the last block was closed: those that went since are
    zero. There is one matrix of columns by columns, changed in place.
    """

    def __init__(self, reader: Reader, damping: float) -> None:
        moments = reader.moments.double()
        self.weight = reader.weight.to(torch.float64, copy=True)
        energy = ((self.weight @ moments) * self.weight).sum()
        self._scale = 1.0 / max(float(energy), 1e-12)
        self.inverse = _inverted(moments, damping)
        self._columns = reader.columns
        self._places = torch.arange(moments.shape[0])  # of a reader's columns in the matrix
        self._gone: list[Tensor] = []
        self._rows: list[Tensor] = []
        self._closed: list[RemovedBlock] = []
        self._block = max(_BLOCK, moments.shape[0] // _BLOCKS)

    def scores(self, alive: Tensor) -> Tensor:
        """[channels that are left]: output error of removing each next, relative to the energy of
        the dense output.
        """
        index = self._places[self._columns[alive]]
        block = self.inverse[index.unsqueeze(2), index.unsqueeze(1)]
        part = self.weight[:, index].permute(1, 2, 0)  # channels, columns of each, outputs
        sensitivity: Tensor = (part * torch.linalg.solve(block, part)).sum((1, 2)) * self._scale
        return sensitivity

    def remove(self, channels: Sequence[int]) -> None:
        """Eliminate the columns of some channels, in this order."""
        if sum(rows.shape[0] for rows in self._rows) >= self._block:
            self._close()
        gone = self._columns[list(channels)]
        index = self._places[gone.flatten()]
        across = self.inverse[index]
        factor = torch.linalg.cholesky(across[:, index])
        rows = torch.linalg.solve_triangular(factor, across, upper=False)
        going = torch.linalg.solve_triangular(
            factor.mT, self.weight[:, index], upper=True, left=False
        )
        self.weight.addmm_(going, rows, alpha=-1.0)
        self.inverse.addmm_(rows.mT, rows, alpha=-1.0)
        self.weight[:, index] = 0.0
        self.inverse[index] = 0.0
        self.inverse[:, index] = 0.0
        self._gone.append(gone)
        self._rows.append((rows / factor.diagonal().unsqueeze(1)).float())

    def removed(self) -> tuple[RemovedBlock, ...]:
        """What went so far, and how."""
        open_ = [RemovedBlock(torch.cat(self._gone), torch.cat(self._rows))] if self._rows else []
        return (*self._closed, *open_)

    def _close(self) -> None:
        """Close a block: what went takes no room from here on."""
        self._closed = list(self.removed())
        self._gone, self._rows = [], []
        left = torch.ones(self.inverse.shape[0], dtype=torch.bool)
        left[self._places[self._closed[-1].gone.flatten()]] = False
        moved = left.cumsum(0) - 1
        self._places = moved[self._places]  # of columns that are gone: never read again
        stay = left.nonzero().flatten()
        self.weight, self.inverse = self.weight[:, stay], _cut(self.inverse, stay)


def _inverted(moments: Tensor, damping: float) -> Tensor:
    """The inverse of damped moments, in their place; that of unknown ones where there is none."""
    moments.diagonal().add_(damping * moments.diagonal()[:-1].mean().clamp_min(1e-12))
    columns_first = moments.mT  # as LAPACK wants it: nothing is copied
    failed = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(columns_first, out=(columns_first, failed))
    if failed:
        return torch.eye(moments.shape[0], dtype=moments.dtype)
    torch.cholesky_inverse(columns_first, out=columns_first)
    return moments


def _cut(square: Tensor, stay: Tensor) -> Tensor:
    """Rows and columns of a matrix that stay, ascending, in the place of the matrix."""
    flat, size, some = square.view(-1), len(stay), 64
    for first in range(0, size, some):  # what is written was read before
        rows = square[stay[first : first + some]][:, stay]
        flat[first * size : first * size + rows.numel()] = rows.flatten()
    return flat[: size * size].view(size, size)


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
    """Remove a group's channels, as somebody chooses.

    Args:
        readers: All matrices that read the group.
        counts: Kept counts whose weights are wanted.
        choose: Asked for the next channels, which then go together, until the least count is
            reached or passed.
        damping: Added to the moments' diagonal, relative to its mean.
    """
    channels = readers[0].columns.shape[0]
    states = [ReaderState(reader, damping) for reader in readers]
    alive = torch.ones(channels, dtype=torch.bool)
    order: list[int] = []
    wanted, lowest, total = set(counts), min(counts), 0.0
    error = {channels: 0.0} if channels in wanted else {}
    while channels - len(order) > lowest:
        going = choose(states, alive)
        for state in states:
            state.remove([channel for channel, _ in going])
        for channel, sensitivity in going:
            total += sensitivity
            alive[channel] = False
            order.append(channel)
            if channels - len(order) in wanted:
                error[channels - len(order)] = total
    rest = alive.nonzero().flatten().tolist()
    return PruningOrder((*order, *rest), tuple(state.removed() for state in states), error)


def in_order(order: Sequence[int]) -> Choose:
    """Chooses channels in an order that is known beforehand, the first one first."""
    waiting = iter(order)

    def choose(states: Sequence[ReaderState], alive: Tensor) -> list[tuple[int, float]]:
        channel = next(waiting)
        only = torch.zeros_like(alive)
        only[channel] = True
        return [(channel, sum(float(state.scores(only)) for state in states))]

    return choose
