"""What an index takes out of a value: rows of a table, tokens that were chosen, chosen channels.

Labels and coordinates move with what is taken, by the very indices of the recorded pass. That is
right for any indices where nothing changes along the dimensions that are indexed. Where channels
lie there, the indices must be constants: a shuffle written as an index, channels in another order,
some of them. A cut model then takes what is left of these, whatever its code names (`sizes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from automl.network.labels import compact, varies

Tensor = torch.Tensor
#: Functions that take by an index: where the dimension and the index stand among their arguments.
_BY_INDEX: Final[dict[Any, tuple[int, int]]] = {
    torch.Tensor.index_select: (1, 2),
    torch.index_select: (1, 2),
    torch.Tensor.gather: (1, 2),
    torch.gather: (1, 2),
    torch.Tensor.take_along_dim: (2, 1),
    torch.take_along_dim: (2, 1),
}
_ITEM: Final = torch.Tensor.__getitem__
#: Attribute of a module: per call that has to do with sizes, the index along the channels.
_NOTE: Final = "_picks"


@dataclass(frozen=True, slots=True)
class Pick:
    """A constant index along one dimension.

    Attributes:
        dim: Of the value that is taken from.
        index: What is taken, in its order.
    """

    dim: int
    index: Tensor


def picked(op: str, labels: Any, args: Sequence[Any], *, fixed: bool = False) -> Tensor | None:
    """Labels of what is taken; None of other operations, and where they cannot be followed.

    Args:
        op: The operation's name.
        labels: Of what it takes from.
        args: What it was given.
        fixed: Whether its indices are constants.
    """
    if op not in ("index", "index_select", "gather") or not isinstance(labels, Tensor):
        return None
    if op == "index":
        dims = [dim for dim, each in enumerate(args[1]) if each is not None]
    else:
        dims = [args[1] % labels.dim()]
    if any(varies(labels, dim) for dim in dims):
        index = args[1][dims[0]] if op == "index" else args[2]
        line = _line(index, 0 if op != "gather" else dims[0])
        if not fixed or len(dims) > 1 or line is None:
            return None
    if op == "index":
        return compact(torch.ops.aten.index(labels, args[1]))
    if op == "gather":
        return compact(labels.gather(dims[0], args[2]))
    return compact(labels.index_select(dims[0], args[2]))


def is_pick(func: Any, args: Sequence[Any]) -> bool:
    """Whether a call takes by an index along one dimension."""
    return func in _BY_INDEX or (func is _ITEM and _entry(args[1]) is not None)


def pick_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Pick | None:
    """What such a call takes; None where that differs along other dimensions."""
    rank = args[0].dim()
    if func is _ITEM:
        entries = args[1] if isinstance(args[1], tuple) else (args[1],)
        at = _entry(args[1])
        assert at is not None
        ahead = sum(_holds(each, rank, entries) for each in entries[:at])
        index = _line(torch.as_tensor(entries[at]), 0)
        return None if index is None else Pick(ahead, index % args[0].size(ahead))
    dim, index = _named(func, args, kwargs)
    if dim is None:
        return None
    line = _line(index, dim % rank if index.dim() == rank else 0)
    return None if line is None else Pick(dim % rank, line % args[0].size(dim))


def take(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], index: Tensor
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of such a call with another index in the place of its own."""
    index = index.to(args[0].device)
    if func is _ITEM:
        at = _entry(args[1])
        assert at is not None
        entries = list(args[1]) if isinstance(args[1], tuple) else [args[1]]
        entries[at] = index
        return [args[0], tuple(entries)], {}
    dim, before = _named(func, args, kwargs)
    if before.dim() > 1:
        shape, along = list(before.shape), [1] * before.dim()
        shape[dim], along[dim] = index.numel(), -1
        index = index.view(along).expand(shape)
    order = sorted(((_BY_INDEX[func][0], dim), (_BY_INDEX[func][1], index)), key=lambda e: e[0])
    return [args[0], *(value for _, value in order)], {}


def note_pick(module: nn.Module, call: int, index: Tensor) -> None:
    """Leave a note on a module what a call of its forward takes, in place."""
    vars(module).setdefault(_NOTE, {})[call] = index


def picks_of(module: nn.Module) -> dict[int, Tensor]:
    """What was noted on a module: per call, its index."""
    found: dict[int, Tensor] = vars(module).get(_NOTE, {})
    return found


def forget_picks(module: nn.Module) -> None:
    """Take what was noted off a module, in place."""
    vars(module).pop(_NOTE, None)


def left_of_pick(index: Tensor, extent: int, positions: Tensor) -> Tensor:
    """What is left of an index, where only these positions of so many stay."""
    rank = torch.full((extent,), -1)
    rank[positions] = torch.arange(positions.numel())
    found = rank[index]
    return found[found >= 0]


def _entry(index: Any) -> int | None:
    """Where in an index of brackets the one stands that takes along a dimension."""
    entries = index if isinstance(index, tuple) else (index,)
    found = [at for at, each in enumerate(entries) if _is_line(each)]
    others = (each for at, each in enumerate(entries) if at not in found)
    plain = all(each is None or each is ... or isinstance(each, int | slice) for each in others)
    return found[0] if len(found) == 1 and plain else None


def _is_line(entry: Any) -> bool:
    if isinstance(entry, Tensor):
        return entry.dim() == 1
    if isinstance(entry, np.ndarray):
        return entry.ndim == 1
    listed = isinstance(entry, list | range) and len(entry) > 0
    return listed and all(isinstance(each, int) for each in entry)


def _holds(entry: Any, rank: int, entries: Sequence[Any]) -> int:
    """How many dimensions an entry of an index stands for."""
    if entry is ...:
        return rank - sum(each is not None and each is not ... for each in entries)
    return int(entry is not None)


def _named(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Tensor]:
    """The dimension and the index of a function that takes them by name."""
    dim, index = _BY_INDEX[func]
    name = "indices" if index == 1 else "index"
    return (
        args[dim] if len(args) > dim else kwargs.get("dim"),
        args[index] if len(args) > index else kwargs[name],
    )


def _line(index: Tensor, dim: int) -> Tensor | None:
    """An index as a line of numbers; None where it differs along other dimensions."""
    if index.dtype == torch.bool:
        return index.nonzero().flatten() if index.dim() == 1 else None
    if index.dim() > 1:
        first = index
        for other in range(index.dim()):
            first = first if other == dim else first.narrow(other, 0, 1)
        if not bool((first == index).all()):
            return None
        index = first.flatten()
    return index if index.dim() == 1 else None
