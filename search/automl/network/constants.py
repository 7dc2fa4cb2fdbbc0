"""Parameters and buffers that hold a value per channel: which of their axes lies along channels.

A layer scale, a position embedding, a class token, the factors of a norm of constants: whoever cuts
the channels that such a tensor meets must cut it alike. Constants are followed through views and
arithmetic among themselves by coordinates, one tensor per axis: where along that axis each value
of a result comes from, counted from 1. Where a result meets values with labels, the axis that lies
along their channels gets labels of its own, which become one with those it meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from automl.network.heads import Heads
from automl.network.held import constants_of
from automl.network.labels import FIXED, Rules, compact, constant, meets_constants, varying, vector
from automl.network.picking import picked
from automl.network.union_find import NONE, UnionFind, core

Tensor = torch.Tensor
#: An axis of a constant: its dotted name, and which of its axes.
Axis = tuple[str, int]
_SIDE: Final = "axis"


def axis_side(axis: int) -> str:
    """The side of a constant along one of its axes, as `Side` names it."""
    return f"{_SIDE}{axis}"


def axis_of(side: str) -> int | None:
    """The axis of a constant that a side names; None for the side of a layer."""
    return int(side.removeprefix(_SIDE)) if side.startswith(_SIDE) else None


class Constants:
    """The constants of a model during one recorded pass.

    Args:
        model: Its constants are followed.
        heads: Of the pass, with its labels.
    """

    def __init__(self, model: nn.Module, heads: Heads) -> None:
        self._heads, self._union = heads, heads.union
        self._model = model
        #: Of tensors that are constants or were made of them alone.
        self._coordinates: dict[int, Mapping[Axis, Tensor]] = {}
        self._extents: dict[Axis, int] = {}
        self._lines: dict[Axis, Tensor] = {}
        self._alive: list[Tensor] = []  # an id is only unique while its tensor lives
        self._given = {id(each) for each in constants_of(model).values()}
        for name, tensor in constants_of(model).items():
            axes = {(name, dim): tensor.size(dim) for dim in range(tensor.dim())}
            self._extents |= axes
            self._keep(tensor, {axis: _counted(tensor.shape, axis[1]) for axis in axes})
        scratch = UnionFind()
        scratch.fresh(max(self._extents.values(), default=0))
        self._rules = Rules(scratch)  # moves coordinates as it moves labels

    def bindings(self) -> dict[tuple[str, str], Tensor]:
        """Labels along the axes that met labelled values: (name, side) -> labels.

        Also of what was made of constants during the pass and is held from then on.
        """
        found = {(name, axis_side(dim)): line for (name, dim), line in self._lines.items()}
        for name, tensor in constants_of(self._model).items():
            labels = None if id(tensor) in self._given else self.labelled(tensor)
            dims = [] if labels is None else varying(labels)
            if labels is not None and len(dims) == 1:
                found[name, axis_side(dims[0])] = core(labels).flatten()
            elif labels is not None:
                self._union.freeze(labels, FIXED)
        return found

    def follow(self, op: str, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Note where the values of a result come from that was made of constants alone."""
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        axes = {axis: None for tensor in read for axis in self._coordinates.get(id(tensor), ())}
        results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        found: list[dict[Axis, Tensor]] = [{} for _ in results]
        for axis in axes:
            places, named = tree_map(lambda leaf, a=axis: self._along(leaf, a), (args, kwargs))
            taken = _product(op, places, output)
            taken = picked(op, places[0], args, fixed=True) if taken is None and places else taken
            moved = tree_leaves(
                self._rules.apply(op, func, places, named, output) if taken is None else taken
            )
            for each, tensor, place in zip(found, results, moved, strict=False):
                if isinstance(place, Tensor) and place.shape == tensor.shape and core(place).any():
                    each[axis] = place
        for tensor, coordinates in zip(results, found, strict=True):
            self._keep(tensor, coordinates)

    def labelled(self, tensor: Tensor) -> Tensor | None:
        """Labels of a result of constants alone, as far as its values have met some."""
        found = None
        for axis, places in self._coordinates.get(id(tensor), {}).items():
            if axis in self._lines:
                found = self._both(found, self._line(axis)[core(places)].expand(tensor.shape))
        return None if found is None else compact(found)

    def meet(self, tensor: Tensor, line: Tensor, dim: int) -> None:
        """Values made of constants lie along these labels in one dimension, from the last.

        Where they come from no constant, the labels stay.
        """
        if tensor.dim() < -dim or tensor.size(dim) == 1:
            return
        found = vector(self._met(tensor, constant(tuple(tensor.shape)), dim), dim)
        self._union.join(line, line.new_zeros(len(line)) if found is None else found, FIXED)

    def labels(self, op: str, func: Any, args: Any, kwargs: Any, labels: Any) -> Any:
        """The labels of an operation's arguments, with those of constants that it meets.

        Args:
            op, func: The operation.
            args, kwargs: What it was given.
            labels: The same with labels for tensors, those of constants `NONE`.
        """
        if not meets_constants(op, func) and op != "native_layer_norm":
            return labels
        leaves = [leaf for leaf in tree_leaves(labels) if isinstance(leaf, Tensor)]
        dims = {dim - leaf.dim() for leaf in leaves for dim in varying(leaf)}
        if op == "embedding":  # what is looked up in a table has the channels of the table
            dims = {-1}
        if len(dims) == 2 and -1 in dims:
            self._meet_heads(args, leaves, min(dims))
            return labels
        if len(dims) != 1:
            return labels
        dim = dims.pop()
        return tree_map(lambda leaf, known: self._met(leaf, known, dim), (args, kwargs), labels)

    def _meet_heads(self, args: Any, labels: list[Tensor], dim: int) -> None:
        """Constants that all heads share, or all places within each, lie along the others."""
        cells = next((each for each in labels if len(varying(each)) == 2), constant((1,)))
        for leaf in tree_leaves(args):
            if not self._coordinates.get(id(leaf)) or leaf.dim() > cells.dim():
                continue
            alone = [at for at in (dim, -1) if leaf.dim() >= -at and leaf.size(at) > 1]
            if len(alone) == 1:
                grid = self._heads.grid(core(cells).reshape(-1, cells.size(-1)))
                self.meet(leaf, grid.columns if alone == [-1] else grid.rows, alone[0])

    def _met(self, leaf: Any, known: Any, dim: int) -> Any:
        """Labels of a result of constants along the one dimension, counted from the last."""
        found = None
        for axis, places in self._coordinates.get(id(leaf), {}).items():
            small = core(places)
            others = [each for each in range(small.dim()) if each - small.dim() != dim]
            whole = small.amax(others, keepdim=True) if others else small
            if whole.numel() < 2 or bool(((small != NONE) & (small != whole)).any()):
                continue  # its values do not lie along the channels
            if axis not in self._lines:
                self._lines[axis] = self._union.fresh(self._extents[axis])
            found = self._both(found, self._line(axis)[small].expand(leaf.shape))
        return known if found is None else compact(found)

    def _line(self, axis: Axis) -> Tensor:
        """Labels by coordinate, which is counted from 1."""
        return torch.cat([torch.tensor([NONE]), self._lines[axis]])

    def _both(self, one: Tensor | None, other: Tensor) -> Tensor:
        if one is None:
            return other
        both = (one != NONE) & (other != NONE)
        self._union.join(torch.where(both, one, NONE), torch.where(both, other, NONE), "")
        return torch.where(one != NONE, one, other)

    def _along(self, leaf: Any, axis: Axis) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        found = self._coordinates.get(id(leaf), {}).get(axis)
        return constant(leaf.shape) if found is None else found

    def _keep(self, tensor: Tensor, coordinates: Mapping[Axis, Tensor]) -> None:
        self._alive.append(tensor)
        self._coordinates[id(tensor)] = coordinates


def _product(op: str, places: Any, output: Any) -> Tensor | None:
    """Coordinates of a product of constants, where they lie along none that it sums over."""
    if op not in ("mm", "bmm"):
        return None
    left, right = core(places[0]), core(places[1])
    if left.size(-1) > 1 or right.size(-2) > 1 or (left.any() and right.any()):
        return None
    return compact((left + right).expand(output.shape))


def _counted(shape: torch.Size, dim: int) -> Tensor:
    """Coordinates along one dimension, from 1."""
    along = [1] * len(shape)
    along[dim] = -1
    return compact(torch.arange(1, shape[dim] + 1).view(along).expand(shape))
