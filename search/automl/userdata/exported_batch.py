"""The batch of an exported program: sizes that were written into it when it was exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from automl.errors import ModelError, Raised, attempt

Tensor = torch.Tensor
_VIEWS: Final = ("view", "reshape", "_unsafe_view")
_SIZED: Final = ("expand", "zeros", "ones", "full", "empty")
#: Largest difference of an output on its own and in a batch, as a share of the output's scale.
_ROUNDING: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs of an exported program.

    Attributes:
        size: Of the batch that it was exported for; 0 where it takes any.
        inputs: Shape and type of each.
    """

    size: int
    inputs: tuple[tuple[tuple[int, ...], torch.dtype], ...] = ()


def free_batch(graph: fx.Graph) -> Batch:
    """Take the size of the batch out of a program's sizes, where it was exported for one alone."""
    holders = [node for node in graph.nodes if node.op == "placeholder"]
    shown = [node.meta.get("val") for node in holders]
    shapes = [tuple(each.shape) for each in shown if isinstance(each, Tensor)]
    fixed = (
        shapes
        and len(shapes) == len(shown)
        and all(shape and all(isinstance(size, int) for size in shape) for shape in shapes)
    )
    if not fixed or len({shape[0] for shape in shapes}) != 1:
        return Batch(0)
    size = int(shapes[0][0])
    follows = set(holders)
    for node in graph.nodes:
        if any(each in follows for each in node.all_input_nodes):
            follows.add(node)
    _rewrite(graph, holders, follows, size)
    kinds = [each.dtype for each in shown if isinstance(each, Tensor)]
    return Batch(size, tuple(zip(shapes, kinds, strict=True)))


def _rewrite(graph: fx.Graph, holders: list[fx.Node], follows: set[fx.Node], size: int) -> None:
    with graph.inserting_after(holders[-1]):
        count = graph.call_function(torch.ops.aten.sym_size.int, (holders[0], 0))
    for node in list(graph.nodes):
        name, shown = operator_of(node), node.meta.get("val")
        if not isinstance(shown, Tensor) or not shown.dim() or shown.shape[0] % size:
            continue
        place = int(name in (*_VIEWS, "expand"))
        wanted: Any = node.args[place] if name in (*_VIEWS, *_SIZED) else ()
        if name in _VIEWS and node in follows:
            if -1 not in wanted[1:]:
                node.update_arg(1, [-1, *wanted[1:]])
            elif shown.shape[0] == size:
                node.update_arg(1, [count, *wanted[1:]])
        elif name in _SIZED and node not in follows and wanted and wanted[0] == size:
            node.update_arg(place, [count, *wanted[1:]])


def free_channels(graph: fx.Graph) -> None:
    """Leave a size open in views that take the last dimension apart or make one of several.

    Less is in it when channels are cut: of heads their number stays open, of rows their length.
    """
    for node in graph.nodes:
        if operator_of(node) not in _VIEWS:
            continue
        wanted: Any = node.args[1]
        shown, before = (_shape_of(each) for each in (node, node.args[0]))
        if not shown or not before or -1 in wanted:
            continue
        place = 0
        if len(shown) > len(before) and shown[: len(before) - 1] == before[:-1]:
            place = len(shown) - 2
        elif 1 < len(shown) < len(before) and shown[:-1] == before[: len(shown) - 1]:
            place = len(shown) - 1
        if place:
            node.update_arg(1, [*wanted[:place], -1, *wanted[place + 1 :]])


def _shape_of(node: Any) -> tuple[Any, ...]:
    shown = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(shown.shape) if isinstance(shown, Tensor) else ()


def operator_of(node: fx.Node) -> str:
    """An operator's name without overload, "" of other nodes."""
    packet = getattr(node.target, "overloadpacket", None)
    return "" if packet is None else str(packet.__name__)


def check_batches(network: nn.Module, given: nn.Module, batch: Batch) -> None:
    """Hold a network against the program that it was made of, one batch at a time and two at once.

    Raises:
        ModelError: It computes something else in larger batches, which sizes in it are for.
    """
    if not batch.size:
        return
    generator = torch.Generator().manual_seed(0)

    def drawn() -> list[Tensor]:
        return [
            torch.rand(shape, generator=generator).to(kind)
            if kind.is_floating_point
            else torch.zeros(shape, dtype=kind)
            for shape, kind in batch.inputs
        ]

    one, other = drawn(), drawn()
    both = [torch.cat(pair) for pair in zip(one, other, strict=True)]
    with torch.no_grad():
        expected = attempt(lambda: [_outputs(given, each) for each in (one, other)])
        found = attempt(lambda: _outputs(network, both))
    if isinstance(expected, Raised) or isinstance(found, Raised) or not _same(found, expected):
        raise ModelError(
            f"the exported program takes batches of {batch.size} alone: leave their size open when "
            "it is exported, such as with dynamic_shapes={'x': {0: torch.export.Dim.DYNAMIC}}, x"
            " being the name of the input"
        )


def _outputs(network: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    given = [each.clone() for each in inputs]
    return [each for each in tree_leaves(network(*given)) if isinstance(each, Tensor)]


def _same(found: list[Tensor], expected: list[list[Tensor]]) -> bool:
    parts = [torch.cat(pair) if pair[0].dim() else pair[0] for pair in zip(*expected, strict=True)]
    if [each.shape for each in found] != [each.shape for each in parts]:
        return False
    return all(
        bool(((one - two).abs() <= _ROUNDING * (1 + two.abs().max())).all())
        for one, two in zip(found, parts, strict=True)
        if one.is_floating_point() and one.numel()
    )
