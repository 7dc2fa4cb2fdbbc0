"""Views that lay channels out in parts which are then taken apart: queries, keys and values.

`qkv.reshape(b, n, 3, heads, width).permute(2, 0, 3, 1, 4)`, whose parts an index or `unbind` then
takes one by one. Of a tensor all parts have one width. In a cut network each may have its own, so
there such a view gives a `PartedValue`: it is laid out as the code goes on to ask, and taken apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch
from torch import nn

from automl.network.labels import varying
from automl.network.translations import Extents, view_sizes

Tensor = torch.Tensor
#: Attribute of a module: per call that has to do with sizes, the view that it makes.
_NOTE: Final = "_parted"


@dataclass(frozen=True, slots=True)
class PartedView:
    """A view that lays channels out in parts.

    Attributes:
        source: The dimension that holds the channels of what is viewed.
        first: The first of those that hold them in the view.
        shape: Extents of these in the dense network.
        dim: Which dimension of the view the parts lie along.
    """

    source: int
    first: int
    shape: tuple[int, ...]
    dim: int

    @property
    def count(self) -> int:
        """How many parts there are."""
        return self.shape[self.dim - self.first]

    def left(self, part: int, rank: int, extents: Extents) -> list[int]:
        """What is left of `shape` in one part.

        Args:
            part: Its number.
            rank: Dimensions of the view.
            extents: By part and dimension (`stretch_of`).
        """
        found = []
        for dim, extent in enumerate(self.shape, self.first):
            dense, left = extents.get(stretch_of(part, dim, rank), (1, 1))
            found.append(extent * left // dense)
        return found


def stretch_of(part: int, dim: int, rank: int) -> int:
    """The number of a part's dimension among those of a view of so many dimensions."""
    return part * rank + dim


def view_of(labels: Tensor, given: Tensor, dim: int) -> PartedView | None:
    """A view whose parts lie along a dimension; None where they are not parts of its channels.

    Args:
        labels: Of the view.
        given: Labels of what is viewed.
        dim: The dimension.
    """
    after, before = varying(labels), varying(given)
    if len(before) != 1 or dim not in after[:-1]:
        return None
    shape = tuple(labels.shape[after[0] : after[-1] + 1])
    if prod(shape) != given.shape[before[0]]:
        return None
    return PartedView(before[0], after[0], shape, dim)


class TakenApart:
    """Which dimensions of the values of a recorded pass are taken apart, index by index.

    Args:
        calls: Its operations: what each reads and writes, what it is, and in which module.
        asked: Values whose sizes are asked for, or that are viewed or sliced, and how often.
        outputs: The network's outputs.
    """

    def __init__(
        self, calls: Sequence[Any], asked: Mapping[int, int], outputs: Sequence[int]
    ) -> None:
        self._users: dict[int, list[Any]] = {}
        for call in calls:
            for value in call.inputs:
                self._users.setdefault(value, []).append(call)
        self._asked, self._outputs = asked, frozenset(outputs)

    def dim_of(self, value: int, dims: Sequence[int], module: str) -> int | None:
        """The dimension of a value along which nothing but its parts is used, within a module."""
        return next((dim for dim in dims if self._is_apart(value, dim, module)), None)

    def _is_apart(self, value: int, dim: int, module: str) -> bool:
        pending, taken = [(value, dim)], 0
        while pending:
            here, at = pending.pop()
            if here in self._outputs or self._asked[here] > (here == value):
                return False
            for call in self._users.get(here, ()):
                if call.step.address[0] != module or call.step.module:
                    return False
                if call.step.op in ("unbind", "select"):
                    along = call.arguments[1] if len(call.arguments) > 1 else 0
                    if along % len(call.in_shapes[0]) != at:
                        return False
                    taken += 1
                    continue
                moved = _moved(call, at)
                if moved is None:
                    return False
                pending.append((call.outputs[0], moved))
        return taken > 0


def _moved(call: Any, dim: int) -> int | None:
    """Where a dimension lies after an operation; None of one that `PartedValue` cannot do."""
    rank = len(call.in_shapes[0])
    if call.step.op == "clone":
        return dim
    if call.step.op == "permute":
        return [each % rank for each in call.arguments[1]].index(dim)
    if call.step.op == "transpose":
        return _swapped(rank, *call.arguments[1:3]).index(dim)
    return None


def note_view(module: nn.Module, call: int, view: PartedView) -> None:
    """Leave a note on a module how a call of its forward lays channels out, in place."""
    vars(module).setdefault(_NOTE, {})[call] = view


def views_of(module: nn.Module) -> Mapping[int, PartedView]:
    """What was noted on a module."""
    found: Mapping[int, PartedView] = vars(module).get(_NOTE, {})
    return found


def forget_views(module: nn.Module) -> None:
    """Take what was noted off a module, in place."""
    vars(module).pop(_NOTE, None)


def lay_out(
    view: PartedView, kind: str, args: Sequence[Any], kwargs: Mapping[str, Any], extents: Extents
) -> PartedValue:
    """The parts of a cut value, each as the view lays out what is left of it.

    Args:
        view: Of the dense network.
        kind: How it is made.
        args, kwargs: What it is called with: sizes of the dense network.
        extents: By part and dimension.
    """
    value, sizes = args[0], view_sizes(kind, args, kwargs)
    at, rank = view.dim - view.first, len(sizes)
    lefts = [view.left(part, rank, extents) for part in range(view.count)]
    inner = [prod(left[at + 1 :]) for left in lefts]
    source = view.source
    if at:
        value = value.unflatten(source, (prod(lefts[0][:at]), sum(inner)))
        source += 1
    parts = []
    for part, left in zip(value.split(inner, source), lefts, strict=True):
        shape = list(sizes)
        shape[view.first : view.first + len(left)] = left
        parts.append(part.reshape([size for dim, size in enumerate(shape) if dim != view.dim]))
    return PartedValue(parts, view.dim)


class PartedValue:
    """PartedValue of a value, each a tensor of its own, laid out as if they were one.

    Args:
        parts: Without the dimension that they lie along.
        dim: Which that would be.
    """

    def __init__(self, parts: Sequence[Tensor], dim: int) -> None:
        self._parts, self._dim = list(parts), dim

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return getattr(args[0], func.__name__)(*args[1:], **(kwargs or {}))

    def permute(self, *dims: Any) -> PartedValue:
        """With the dimensions in another order."""
        rank = self._parts[0].dim() + 1
        order = [dim % rank for dim in (dims[0] if len(dims) == 1 else dims)]
        own = [dim - (dim > self._dim) for dim in order if dim != self._dim]
        return PartedValue([part.permute(own) for part in self._parts], order.index(self._dim))

    def transpose(self, dim0: int, dim1: int) -> PartedValue:
        """With two dimensions in each other's place."""
        return self.permute(_swapped(self._parts[0].dim() + 1, dim0, dim1))

    swapaxes = swapdims = transpose

    def movedim(self, source: Any, destination: Any) -> PartedValue:
        """With dimensions in other places, the others in their order."""
        rank = self._parts[0].dim() + 1
        there = [[dim % rank for dim in _each(at)] for at in (source, destination)]
        moved = dict(zip(reversed(there[1]), reversed(there[0]), strict=True))
        others = iter(dim for dim in range(rank) if dim not in there[0])
        return self.permute([moved[dim] if dim in moved else next(others) for dim in range(rank)])

    moveaxis = movedim

    def contiguous(self, **_: Any) -> PartedValue:
        """Each part in the order of its dimensions."""
        return PartedValue([part.contiguous() for part in self._parts], self._dim)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The parts."""
        return tuple(self.select(dim, part) for part in range(len(self._parts)))

    def select(self, dim: int, index: int) -> Tensor:
        """One part."""
        assert dim % (self._parts[0].dim() + 1) == self._dim
        return self._parts[index]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.unbind())

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: Any) -> Tensor:
        entries = list(index) if isinstance(index, tuple) else [index]
        rank = self._parts[0].dim() + 1
        if ... in entries:
            at = entries.index(...)
            entries[at : at + 1] = [slice(None)] * (rank - len(entries) + 1)
        part: int = entries.pop(self._dim)
        assert all(each == slice(None) for each in entries)
        return self._parts[part]


def _each(dims: int | Sequence[int]) -> Sequence[int]:
    return (dims,) if isinstance(dims, int) else dims


def _swapped(rank: int, one: int, other: int) -> list[int]:
    order = list(range(rank))
    one, other = one % rank, other % rank
    order[one], order[other] = order[other], order[one]
    return order
