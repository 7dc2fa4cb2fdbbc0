"""Statistics over channels, written out: a mean over them, a variance, a length, a layer norm.

A norm that is no layer (RMSNorm of language models, GRN of ConvNeXt V2, the layer norm over maps
that ConvNeXt brought), the normalised queries of cosine attention, the mean over channels that
spatial attention reads. Without some channels such a statistic is taken over those that stay, as
that of a layer is (`norms`). The cut network does so by itself; in the masked one the operation is
given the channels that stay.

A maximum over one of the two dimensions that channels are laid out in is a maxout unit's: what it
gives is a channel for each unit, not a statistic (`maxout`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from automl.network.forward_tracer import Address, LeafCall
from automl.network.heads import Heads
from automl.network.labels import compact, constant, names, varying
from automl.network.sizes import is_own_call
from automl.network.union_find import core

Tensor = torch.Tensor
#: Operators whose result says something of all channels at once, and where they name dimensions.
_OVER: Final = {
    **dict.fromkeys(names("mean sum amax amin var std var_mean max min"), 1),
    **dict.fromkeys(names("norm linalg_vector_norm"), 2),
}
_NORM: Final = "native_layer_norm"
#: Of these, what gives one of the values that it is taken over, and whether that is the largest.
_MAXIMA: Final = {"amax": True, "max": True, "amin": False, "min": False}
_SIDE: Final = "over"
_MAXIMUM: Final = "maximum"


@dataclass(frozen=True, slots=True)
class Maximum:
    """A maximum over the pieces of maxout units.

    Attributes:
        address: The operation.
        module, side: The side of a module along which the pieces lie.
        cells: Labels [units, pieces].
        units, pieces: The dimensions along which these lie in what is read.
        largest: Whether it is not a minimum.
    """

    address: Address
    module: str
    side: str
    cells: Tensor
    units: int
    pieces: int
    largest: bool


def over_side(call: int, dim: int, extent: int, *, maximum: bool = False) -> str:
    """The side of a module along a dimension that one of its statistics is taken over.

    Args:
        call: The how many-th of its statistics.
        dim: The dimension.
        extent: Its extent.
        maximum: Whether it is the largest piece of maxout units.
    """
    return f"{_MAXIMUM if maximum else _SIDE} {call} {dim} {extent}"


def is_over(side: str) -> bool:
    """Whether a side is one of those."""
    return side.startswith((f"{_SIDE} ", f"{_MAXIMUM} "))


def is_maximum(side: str) -> bool:
    """Whether a side is one of those, along the pieces of maxout units."""
    return side.startswith(f"{_MAXIMUM} ")


def parse_over(side: str) -> tuple[int, int, int]:
    """Call, dimension and extent."""
    call, dim, extent = map(int, side.split()[1:])
    return call, dim, extent


class Statistics:
    """The statistics over channels of a recorded pass.

    Args:
        heads: Of the pass.
        bindings: Labels along sides, which are added: (module, side) -> labels.
        maxima: Those over the pieces of maxout units, which are added.
        squeezed: Those that keep a dimension which is then taken away.
    """

    def __init__(
        self,
        heads: Heads,
        bindings: dict[tuple[str, str], Tensor],
        maxima: list[Maximum],
        squeezed: Collection[Address],
    ) -> None:
        self._heads, self._bindings, self._maxima = heads, bindings, maxima
        self._squeezed = squeezed
        self._counts: Counter[str] = Counter()
        self._spread: set[int] = set()

    def begin(self, module: str) -> None:
        """A module's forward begins."""
        self._counts[module] = 0

    def seen(self, op: str, module: str) -> None:
        """An operation of a module's own forward is over."""
        if op in _OVER or op == _NORM:
            self._counts[module] += 1

    def labels(self, step: LeafCall, args: Any, output: Any) -> Any:
        """Labels of a statistic over channels; None of other operations.

        Args:
            step: The operation, after `seen`.
            args: What it was given, tensors as their labels.
            output: What it gave.
        """
        if step.op == "expand":
            return self._expanded(args[0], output)
        if step.op in _OVER:
            return self._reduced(step, args, output)
        return self._normed(step, args, output) if step.op == _NORM else None

    def _reduced(self, step: LeafCall, args: Any, output: Any) -> Any:
        labels, place = args[0], _OVER[step.op]
        dims = args[place] if len(args) > place else None
        if isinstance(dims, Tensor):
            return None  # the larger of two values
        if dims is None or dims == []:
            dims = list(range(labels.dim()))
        dims = [dim % labels.dim() for dim in ([dims] if isinstance(dims, int) else dims)]
        mixed = [dim for dim in dims if dim in varying(labels)]
        results = output if isinstance(output, tuple) else (output,)
        line, kept = self._line(labels, mixed), results[0].dim() == labels.dim()
        # with its dimension kept, one over places of heads is a statistic that meets them again
        again = kept and line is not None and step.address not in self._squeezed
        if step.op in _MAXIMA and len(dims) == 1 and not again:
            units = self._maximum(step, labels, mixed)
            if units is not None:
                units = compact(units if kept else units.squeeze(dims[0]))
                return tuple(units for _ in results) if isinstance(output, tuple) else units
        if line is None:
            return None
        self._bind(step, mixed[0], line)
        shape = [1 if dim in dims else extent for dim, extent in enumerate(core(labels).shape)]
        line = self._heads.union.fresh(math.prod(shape))  # one, or one a head
        self._spread.update(line.tolist())
        wide = [1 if dim in dims else extent for dim, extent in enumerate(labels.shape)]
        found = compact(line.view(shape).expand(wide).reshape(results[0].shape))
        return tuple(found for _ in results) if isinstance(output, tuple) else found

    def _maximum(self, step: LeafCall, labels: Tensor, mixed: list[int]) -> Tensor | None:
        """Labels of the units whose pieces lie along the one mixed dimension, of extent 1."""
        found = varying(labels)
        if len(found) != 2 or len(mixed) != 1:
            return None
        pieces = mixed[0]
        units = found[found.index(pieces) - 1]
        small = core(labels)
        cells = small.movedim((units, pieces), (0, 1)).reshape(small.size(units), -1)
        grid = self._heads.grid(cells)
        side = self._bind(step, pieces, grid.columns, maximum=True)
        largest = _MAXIMA[step.op]
        self._maxima.append(
            Maximum(step.address, step.address[0], side, cells, units, pieces, largest)
        )
        shape = [extent if dim == units else 1 for dim, extent in enumerate(labels.shape)]
        return grid.rows.view(shape).expand(
            [*labels.shape[:pieces], 1, *labels.shape[pieces + 1 :]]
        )

    def _line(self, labels: Tensor, mixed: list[int]) -> Tensor | None:
        """Labels along the one dimension that is mixed: channels, or places within all heads."""
        found = varying(labels)
        if len(mixed) != 1:
            return None
        if found == mixed:
            return core(labels).flatten()
        last = labels.dim() - 1
        if len(found) == 2 and mixed == [last]:
            return self._heads.grid(core(labels).reshape(-1, labels.size(-1))).columns
        return None

    def _normed(self, step: LeafCall, args: Any, output: Any) -> Any:
        """A layer norm by weights of no layer."""
        labels, shape, *weights = args[:4]
        last = labels.dim() - 1
        line = self._line(labels, [last]) if len(shape) == 1 and last in varying(labels) else None
        if line is None:
            return None
        for each in weights:
            if each is not None:
                self._heads.union.join(line, each.flatten(), "its channels meet values of no layer")
        self._bind(step, last, line)
        return (labels, *(constant(tuple(each.shape)) for each in output[1:]))

    def _expanded(self, labels: Tensor, output: Tensor) -> Tensor | None:
        """One statistic laid out for each channel again, which are whoever's it meets."""
        rows = core(labels)
        if not self._spread.issuperset(rows.flatten().tolist()):
            return None
        ahead = output.dim() - labels.dim()
        wider = [
            dim
            for dim, size in enumerate(output.shape)
            if size > (labels.shape[dim - ahead] if dim >= ahead else 1)
        ]
        if len(wider) != 1:
            return None
        along = [*[1] * ahead, *rows.shape]
        along[wider[0]] = output.shape[wider[0]]
        cells = self._heads.union.fresh(math.prod(along)).view(along)
        return compact(cells.expand(output.shape))

    def _bind(self, step: LeafCall, dim: int, line: Tensor, *, maximum: bool = False) -> str:
        module = step.address[0]
        side = over_side(self._counts[module] - 1, dim, line.numel(), maximum=maximum)
        known = self._bindings.setdefault((module, side), line)
        self._heads.union.join(known, line, "its module runs twice, once on fixed channels")
        return side


class KeptStatistics:
    """The forward of a module whose statistics are taken over the channels that stay.

    Args:
        module: The module.
        kept: Per statistic, in the order within its own forward: per dimension, which channels.
    """

    def __init__(self, module: nn.Module, kept: dict[int, dict[int, Tensor]]) -> None:
        self.module, self.kept, self.forward = module, kept, module.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        with _OverKept(self.module, self.kept):
            return self.forward(*args, **kwargs)


class _OverKept(TorchDispatchMode):
    def __init__(self, module: nn.Module, kept: Mapping[int, Mapping[int, Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._module, self._kept, self._count = module, kept, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if (name not in _OVER and name != _NORM) or not is_own_call(self._module):
            return func(*args, **(kwargs or {}))
        self._count += 1
        kept = self._kept.get(self._count - 1, {})
        if name == _NORM and kept:
            return _normed(args, *kept.values())
        read = args[0]
        for dim, positions in kept.items():
            read = read.index_select(dim, positions)
        return func(read, *args[1:], **(kwargs or {}))


def _normed(args: tuple[Any, ...], positions: Tensor) -> tuple[Any, ...]:
    """A layer norm over some channels; the others become zero."""
    read, _, weight, bias, eps = args
    weight, bias = (None if each is None else each[positions] for each in (weight, bias))
    kept = read.index_select(-1, positions)
    found, *rest = torch.native_layer_norm(kept, (positions.numel(),), weight, bias, eps)
    return (torch.zeros_like(read).index_copy(-1, positions, found), *rest)
