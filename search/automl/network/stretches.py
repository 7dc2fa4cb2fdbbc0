"""Stretches of a dimension that a call names: the parts of a split, what a slice takes and leaves.

Each has a number within its call. Of what a module names of whole dimensions that is the
dimension, of the parts of a split their order; a slice of a dimension makes three of it: what lies
ahead, what is taken, and what lies behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch

Tensor = torch.Tensor
#: Each with its number in the call, the dimension, and where it starts and stops.
Stretches = tuple[tuple[int, int, int, int], ...]


def stretches_of(
    kind: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> Stretches:
    """What a call names, in the dense network.

    Args:
        kind: How sizes come into it.
        args, kwargs: What it was given.
        output: What it gave.
    """
    if kind in ("split", "chunk", "tensor_split"):
        dim = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % args[0].dim()
        ends = (0, *accumulate(part.size(dim) for part in output))
        return tuple((at, dim, *both) for at, both in enumerate(pairwise(ends)))
    if kind == "narrow":
        at = dict(zip(("dim", "start", "length"), args[1:], strict=False)) | dict(kwargs)
        dim, start = at["dim"] % args[0].dim(), int(at["start"]) % args[0].size(at["dim"])
        return ((0, dim, 0, start), (1, dim, start, start + at["length"]))
    if kind == "taken":
        return tuple(
            (3 * dim + number, dim, *both)
            for dim, at in sliced_dims(args[1], args[0].dim()).items()
            for number, both in enumerate(_three(_entry(args[1], at), args[0].size(dim)))
        )
    value = output if kind in ("named", "unflattened") else args[0]
    if kind == "normed":
        last = value.dim() - 1
        shape = args[1] if len(args) > 1 else kwargs["normalized_shape"]
        return ((0, last, 0, value.size(last)),) if len(shape) == 1 else ()
    return tuple((dim, dim, 0, extent) for dim, extent in enumerate(value.shape))


def sliced_dims(index: Any, rank: int) -> dict[int, int]:
    """Dimensions that an index slices, and where in it; none where it holds anything but slices.

    Numbers, new dimensions and what is left out stand beside them.
    """
    entries = index if isinstance(index, tuple) else (index,)
    if not all(each is None or each is ... or isinstance(each, int | slice) for each in entries):
        return {}
    named = sum(isinstance(each, int | slice) for each in entries)
    found, dim = {}, 0
    for at, each in enumerate(entries):
        if isinstance(each, slice) and _can_move(each):
            found[dim] = at
        dim += rank - named if each is ... else each is not None
    return found


def left_of(extents: Mapping[int, tuple[int, int]], dense: int, stretch: int) -> int:
    """How many channels are left of a stretch that has so many in the dense network."""
    return extents[stretch][1] if stretch in extents else dense


def left_of_slice(extents: Mapping[int, tuple[int, int]], named: slice) -> slice:
    """A slice of what is left; `extents` of what is ahead, taken and behind, as 0, 1 and 2."""
    start, stop = named.start, named.stop
    behind = 0 if stop is None or stop >= 0 else left_of(extents, -stop, 2)
    if start is not None and start < 0:
        taken = left_of(extents, (0 if stop is None else stop) - start, 1)
        return slice(-(taken + behind), -behind if behind else None)
    ahead = left_of(extents, start or 0, 0)
    if stop is not None and stop >= 0:
        return slice(ahead, ahead + left_of(extents, stop - (start or 0), 1))
    return slice(ahead, -behind if behind else None)


def _can_move(named: slice) -> bool:
    """Whether a slice is of neighbours, with ends that are counted from the same side."""
    ends = [each for each in (named.start, named.stop) if each is not None]
    if named.step not in (None, 1) or not ends or not all(isinstance(end, int) for end in ends):
        return False
    return not (len(ends) == 2 and named.start < 0 <= named.stop)


def _three(named: slice, extent: int) -> tuple[tuple[int, int], ...]:
    start, stop, _ = named.indices(extent)
    return (0, start), (start, max(start, stop)), (max(start, stop), extent)


def _entry(index: Any, at: int) -> Any:
    return index[at] if isinstance(index, tuple) else index
