"""Second moments of what layers read: of all layers at once, or of those that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

Tensor = torch.Tensor
_GRAM_BLOCK = 128


class Moments:
    """Second moments of a layer's inputs, with a column of ones for the bias.

    They are symmetric: what is below the diagonal is not held.

    Args:
        total: [runs, columns + 1, columns + 1], summed over rows.
        rows: How many rows went in.
    """

    def __init__(self, total: Tensor, rows: int = 0) -> None:
        self.rows = rows
        self._shape = total.shape
        self._blocks = [total[:, here, here.start :].clone() for here in _blocks(total.shape[2])]

    @classmethod
    def none(cls, runs: int, extent: int) -> Moments:
        """Of no rows yet: [runs, extent, extent]."""
        return cls(torch.zeros((), dtype=torch.float64).expand(runs, extent, extent))

    @property
    def total(self) -> Tensor:
        """[runs, columns + 1, columns + 1], summed over rows: put together anew."""
        return torch.stack([self.of(run) for run in range(self._shape[0])])

    def of(self, run: int) -> Tensor:
        """[columns + 1, columns + 1] of one run, put together anew."""
        whole = self._blocks[0].new_empty(self._shape[1:])
        for here, block in zip(_blocks(self._shape[2]), self._blocks, strict=True):
            whole[here, here.start :] = block[run]
            whole[here.start :, here] = block[run].T
        return whole

    def add(self, rows: Tensor) -> None:
        """Add rows [n, runs, columns]."""
        wide = with_ones(rows)
        for here, block in zip(_blocks(self._shape[2]), self._blocks, strict=True):
            block += wide[:, :, here].transpose(1, 2) @ wide[:, :, here.start :]
        self.rows += rows.shape[0]


@dataclass(frozen=True, slots=True)
class RunMoments:
    """Those of one run of a layer, put together when they are asked for."""

    layer: Moments
    run: int

    def whole(self) -> Tensor:
        """[columns + 1, columns + 1], summed over rows."""
        return self.layer.of(self.run)


def held_bytes(runs: int, extent: int) -> int:
    """Bytes of the moments [runs, extent, extent] of a layer."""
    return sum(
        8 * runs * (here.stop - here.start) * (extent - here.start) for here in _blocks(extent)
    )


def _blocks(extent: int) -> list[slice]:
    """Columns that are multiplied with all to their right at once."""
    return [
        slice(first, min(first + _GRAM_BLOCK, extent)) for first in range(0, extent, _GRAM_BLOCK)
    ]


def with_ones(rows: Tensor) -> Tensor:
    """Rows [n, runs, columns] as [runs, n, columns + 1], the last column ones for the bias."""
    ones = torch.ones(*rows.shape[:2], 1, dtype=rows.dtype)
    return torch.cat([rows, ones], 2).transpose(0, 1)


def gram(rows: Tensor) -> Tensor:
    """Sums of products of columns: [runs, columns, columns] of rows [runs, n, columns].

    Symmetric, so only what is not below the diagonal is multiplied out.
    """
    runs, _, columns = rows.shape
    if columns <= _GRAM_BLOCK:
        return rows.transpose(1, 2) @ rows
    result = rows.new_empty(runs, columns, columns)
    for here in _blocks(columns):
        product = rows[:, :, here].transpose(1, 2) @ rows[:, :, here.start :]
        result[:, here, here.start :] = product
        result[:, here.start :, here] = product.transpose(1, 2)
    return result


#: Walks the images, and gives the moments of the layers that are named.
Collect = Callable[[Collection[str]], Mapping[str, Moments]]


class StreamedMoments(Mapping[str, Moments]):
    """Moments by layer, of which no more are held than fit; others are collected when asked for.

    Args:
        sizes: Bytes of each layer's moments, in network order.
        limit: Most bytes that are held; of layers that are asked for together all are.
        collect: Walks the images once for as many layers as fit.

    Attributes:
        limit: As given, or tightened.
    """

    def __init__(self, sizes: Mapping[str, int], limit: int, collect: Collect) -> None:
        self._sizes, self.limit, self._collect = dict(sizes), limit, collect
        self._held: dict[str, Moments] = {}

    def hold(self, names: Iterable[str]) -> None:
        """Have these at hand, and with them those that follow in the network as far as they fit."""
        wanted = [name for name in names if name in self._sizes]
        missing = [name for name in wanted if name not in self._held]
        if not missing:
            return
        kept = dict.fromkeys(wanted)
        room = self.limit - sum(self._sizes[name] for name in kept)
        order = list(self._sizes)
        for name in order[order.index(missing[0]) :]:
            if name not in kept and self._sizes[name] <= room:
                kept[name] = None
                room -= self._sizes[name]
        self._held = {name: found for name, found in self._held.items() if name in kept}
        self._held |= self._collect([name for name in kept if name not in self._held])

    def fitting(self) -> tuple[str, ...]:
        """The first layers of the network, as many as fit."""
        fit, room = list[str](), self.limit
        for name, size in self._sizes.items():
            if size > room:
                break
            fit.append(name)
            room -= size
        return tuple(fit)

    @property
    def held(self) -> Mapping[str, Moments]:
        """What is at hand."""
        return self._held

    def put(self, found: Mapping[str, Moments]) -> None:
        """Take what was collected by the way."""
        self._held |= found

    def let_go(self) -> None:
        """Hold none."""
        self._held = {}

    def tighten(self, limit: int) -> None:
        """Hold no more than this from here on: of those at hand the first ones of the network."""
        self.limit = min(limit, self.limit)
        fitting = self.fitting()
        self._held = {name: found for name, found in self._held.items() if name in fitting}

    def drop(self, name: str) -> None:
        """Know a layer no longer."""
        self._sizes.pop(name, None)
        self._held.pop(name, None)

    def __getitem__(self, name: str) -> Moments:
        if name not in self._sizes:
            raise KeyError(name)
        self.hold([name])
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._sizes))

    def __len__(self) -> int:
        return len(self._sizes)
