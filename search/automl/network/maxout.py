"""Maxout: a unit is the largest of several values, its pieces.

A view lays the channels of a value out in units and the pieces of each, in either order, and a
maximum is taken over the pieces: a grid (`heads`), whose rows are units and whose columns are
pieces. What is left out of it is whole units, which are read like any channel, and one piece of
each unit at a time. Which of its pieces a unit loses is its own affair, for a maximum does not ask
for their order: their order within each unit is changed first (`with_pieces_in_order`), and then
the last of each goes.

Source: Goodfellow et al., Maxout Networks, 2013.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from automl.network.layers import ChannelGroup, Side
from automl.network.outputs import output_tensors
from automl.network.over_channels import Maximum, is_maximum
from automl.network.surgery import slice_side
from automl.network.union_find import NONE

if TYPE_CHECKING:
    from automl.network.recorded import Trace
    from automl.network.traced_model import TracedModel

Tensor = torch.Tensor
#: Layers whose outputs can be put into another order.
_LAYERS = ("conv", "linear")


@dataclass(frozen=True, slots=True)
class PieceOrders:
    """In which order the pieces of some units stand.

    Attributes:
        rows: Classes of the units.
        order: [units, pieces], the piece that is to stay longest first.
    """

    rows: tuple[int, ...]
    order: Tensor


def with_pieces_in_order(
    traced: TracedModel, orders: Mapping[str, PieceOrders], example: Tensor
) -> TracedModel:
    """The network with the pieces of maxout units in another order: it computes the same.

    Args:
        traced: The network.
        orders: Per group of pieces, those of all of its units.
        example: Inputs on which it is looked whether it does.

    Returns:
        With a model of its own; the given one where there is nothing to order, or where an order
        would change what is computed.
    """
    if not orders:
        return traced
    groups = {group.name: group for group in traced.network.groups}
    model = copy.deepcopy(traced.model)
    for name, each in orders.items():
        order = dict(zip(each.rows, each.order.tolist(), strict=True))
        for side in groups[name].producers:
            rows = maxout_units_along(traced.trace, side)
            layer: Any = model.get_submodule(side.module)
            moved = torch.arange(len(layer.weight))
            for channel, positions in enumerate(side.positions):
                for place, position in enumerate(positions):
                    piece = order[rows[place]][channel]
                    moved[position] = side.positions[piece][place]
            slice_side(layer, "out", moved)
    same = _alike(model, traced.model, example)
    return replace(traced, model=model) if same else traced


def is_of_pieces(trace: Trace, outputs: Sequence[Side], others: bool) -> bool:
    """Whether what goes together is a piece of each of some maxout units.

    Layers write it whose outputs can be put into another order, and nothing but maxima read it.

    Args:
        trace: The settled pass.
        outputs: Where layers write it.
        others: Whether anything else has to do with it.
    """
    ops = {call.step.module: call.step.op for call in trace.calls}
    tied = {*trace.tied.keys(), *trace.tied.values()}
    fit = all(ops.get(each.module) in _LAYERS and each.module not in tied for each in outputs)
    return not others and fit and all(maxout_units_along(trace, each) for each in outputs)


def maxima_of(trace: Trace, group: ChannelGroup) -> list[Maximum]:
    """The maxima that are taken over a group of pieces."""
    sides = {(side.module, side.side) for side in group.sizes if is_maximum(side.side)}
    return [each for each in trace.maxima if (each.module, each.side) in sides]


def maxout_units_along(trace: Trace, side: Side) -> tuple[int, ...]:
    """Classes of the units along the positions of each piece; () where pieces differ in them."""
    roots = trace.union.roots(trace.bindings[side.module, side.side])
    found = {tuple(_unit(trace, int(roots[at])) for at in each) for each in side.positions}
    return found.pop() if len(found) == 1 else ()


def maxout_units(trace: Trace, maximum: Maximum) -> tuple[int, ...]:
    """Classes of the units of a maximum."""
    return tuple(_unit(trace, trace.union.root(int(cells[0]))) for cells in maximum.cells)


def _unit(trace: Trace, root: int) -> int:
    cell = trace.heads.cells.get(root)
    return NONE if cell is None else trace.union.root(cell[0])


@torch.no_grad()
def _alike(one: Any, other: Any, example: Tensor) -> bool:
    pairs = zip(output_tensors(one(example)), output_tensors(other(example)), strict=True)
    return all(torch.allclose(left, right, rtol=1e-4, atol=1e-5) for left, right in pairs)
