"""Pieces of maxout units: which of its own each unit loses first.

A unit is the largest of its pieces, so no matrix reads what is lost of them, and nothing can be
made up for by least squares. Pieces of a unit may stand in any order. So the network's are put in
order first, each unit's by its own scores, and the last of every unit go together: all units keep
equally many, each its own best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from automl.compression.importance.elimination import PruningOrder
from automl.network import (
    Address,
    ChannelGroup,
    ForwardTracer,
    LeafCall,
    Maximum,
    PieceOrders,
    Side,
    Trace,
    maxima_of,
    maxout_units,
    maxout_units_along,
)

if TYPE_CHECKING:
    from automl.compression.importance.base import Importance
    from automl.compression.importance.channel_statistics import ChannelStatistics

Tensor = torch.Tensor
#: Most images that go through the network together.
_BATCH: Final = 128


class WinsWalk(ForwardTracer):
    """Counts how often each piece is the largest of its unit.

    Args:
        model: The dense network.
        maxima: Where units take the largest.
    """

    def __init__(self, model: nn.Module, maxima: Sequence[Maximum]) -> None:
        super().__init__(model)
        self._at: Mapping[Address, Maximum] = {each.address: each for each in maxima}
        #: Per maximum: [units, pieces].
        self.wins = {
            each.address: torch.zeros(each.cells.shape, dtype=torch.int64) for each in maxima
        }

    def show(self, images: Tensor) -> None:
        """Count on some images, while the walk is attached."""
        self.start()
        self._model(images)

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        maximum = self._at.get(step.address)
        if maximum is None:
            return
        values = args[0].movedim((maximum.units, maximum.pieces), (-2, -1))
        found = values.argmax(-1) if maximum.largest else values.argmin(-1)
        wins = self.wins[step.address]
        units, pieces = wins.shape
        number = torch.arange(units) * pieces + found
        wins += torch.bincount(number.flatten(), minlength=units * pieces).view(units, pieces)


def piece_orders(importance: Importance, statistics: ChannelStatistics) -> dict[str, PieceOrders]:
    """Per group of pieces, in which order those of each unit are best kept.

    Args:
        importance: Ranks them where it looks at filters alone; else they go by their wins.
        statistics: Of the dense network on the calibration inputs.
    """
    traced = statistics.traced
    groups = [group for group in traced.network.groups if group.units]
    if not groups:
        return {}
    apart = {group.name: _apart(traced.trace, group) for group in groups}
    own = importance.ranks_pieces and all(_is_whole(whole) for _, whole in apart.values())
    wins = {} if own else _wins(statistics)
    found = {}
    for group in groups:
        rows, whole = apart[group.name]
        if own:
            order = torch.as_tensor(importance.order(whole, (), statistics)).long()
            scores = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        else:
            none = torch.zeros(group.channels, dtype=torch.int64)
            scores = torch.cat([wins[group.name].get(row, none) for row in rows])
        best = scores.view(len(rows), -1).argsort(stable=True, dim=1, descending=True)
        found[group.name] = PieceOrders(rows, best)
    return found


def _is_whole(pieces: ChannelGroup) -> bool:
    """Whether each layer that writes pieces writes all of them, each as often."""
    counts = {len(positions) for side in pieces.producers for positions in side.positions}
    return len(counts) == 1 and 0 not in counts


def _apart(trace: Trace, group: ChannelGroup) -> tuple[tuple[int, ...], ChannelGroup]:
    """Classes of a group's units, and a group of which each piece of each unit is a channel."""
    places: list[dict[tuple[int, int], list[int]]] = []
    for side in group.producers:
        at: dict[tuple[int, int], list[int]] = {}
        units = maxout_units_along(trace, side)
        for piece, positions in enumerate(side.positions):
            for unit, position in zip(units, positions, strict=True):
                at.setdefault((unit, piece), []).append(position)
        places.append(at)
    rows = tuple(dict.fromkeys(unit for at in places for unit, _ in at))
    order = [(row, piece) for row in rows for piece in range(group.channels)]
    sides = tuple(
        Side(side.module, side.side, tuple(tuple(at.get(each, ())) for each in order))
        for side, at in zip(group.producers, places, strict=True)
    )
    return rows, ChannelGroup(group.name, len(order), sides, ())


def _wins(statistics: ChannelStatistics) -> dict[str, dict[int, Tensor]]:
    """How often each piece wins: per group, by the class of its unit, [pieces]."""
    trace, network = statistics.traced.trace, statistics.traced.network
    walk = WinsWalk(statistics.traced.model, trace.maxima)
    with walk.attached():
        for _, images in statistics.shown(_BATCH):
            walk.show(images)
    found: dict[str, dict[int, Tensor]] = {}
    for group in network.groups:
        along = {(side.module, side.side): side.positions for side in group.sizes}
        counts = found.setdefault(group.name, {})
        for maximum in maxima_of(trace, group):
            columns = torch.tensor(along[maximum.module, maximum.side]).flatten()
            for row, wins in zip(
                maxout_units(trace, maximum), walk.wins[maximum.address][:, columns], strict=True
            ):
                counts[row] = counts.get(row, torch.zeros_like(wins)) + wins
    return found


def remove_pieces(group: ChannelGroup) -> PruningOrder:
    """Pieces that stand in order go from the last one on; no weights read them."""
    return PruningOrder(tuple(reversed(range(group.channels))), (), {})
