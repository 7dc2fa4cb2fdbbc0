"""Sizes that a call names, as what is left of them in a cut network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import torch

from automl.network.stretches import left_of, left_of_slice, sliced_dims

#: Per dimension or other stretch that a call names, how many channels it has in the dense network,
#: and how many are left.
Extents = Mapping[int, tuple[int, int]]
Tensor = torch.Tensor


def dense_sizes(found: Any, args: Sequence[Any], kwargs: Mapping[str, Any], at: Extents) -> Any:
    rank = args[0].dim()
    named = args[1] if len(args) > 1 else kwargs.get("dim")
    if named is not None:
        dense, left = at.get(named % rank, (1, 1))
        return found * dense // left
    return torch.Size(
        size if dim not in at else int(size) * at[dim][0] // at[dim][1]
        for dim, size in enumerate(found)
    )


def view_sizes(kind: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The sizes that a view is to have; `kind` as of `TRANSLATIONS`, "named" or "unflattened"."""
    if kind == "unflattened":
        dim = (args[1] if len(args) > 1 else kwargs["dim"]) % args[0].dim()
        sizes = args[2] if len(args) > 2 else kwargs["sizes"]
        return [*args[0].shape[:dim], *sizes, *args[0].shape[dim + 1 :]]
    if len(args) > 1 and isinstance(args[1], int | Tensor | torch.SymInt):
        return list(args[1:])
    return list(args[1] if len(args) > 1 else next(iter(kwargs.values())))


def _name(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    """A view, reshape or expand: sizes of the output, one by one or as a sequence."""
    if len(args) > 1 and isinstance(args[1], int | Tensor | torch.SymInt):
        return [args[0], *_left(args[1:], extents)], kwargs
    if len(args) > 1:
        return [args[0], _left(args[1], extents)], kwargs
    return args, {
        key: value if isinstance(value, torch.dtype) else _left(value, extents)
        for key, value in kwargs.items()
    }


def _unflatten(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    dim = (args[1] if len(args) > 1 else kwargs["dim"]) % args[0].dim()
    sizes = args[2] if len(args) > 2 else kwargs["sizes"]
    named = _left(sizes, {at - dim: each for at, each in extents.items()})
    return [args[0], dim, named], {}


def _split(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    sizes = args[1] if len(args) > 1 else kwargs.pop("split_size_or_sections", None)
    sizes = kwargs.pop("split_size") if sizes is None else sizes
    if not isinstance(sizes, int):
        return [args[0], [left_of(extents, n, at) for at, n in enumerate(sizes)], dim], {}
    parts: list[int] = []
    while sum(parts) < args[0].size(dim):
        rest = args[0].size(dim) - sum(parts)
        parts.append(min(left_of(extents, sizes, len(parts)), rest))
    return [args[0], parts, dim], {}


def _chunk(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    count = args[1] if len(args) > 1 else kwargs["chunks"]
    dense = _dense(args[0].size(dim), extents)
    each = -(-dense // count)
    parts = [min(each, dense - start) for start in range(0, dense, each)]
    return [args[0], [left_of(extents, n, at) for at, n in enumerate(parts)], dim], {}


def _tensor_split(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    named = ("tensor_indices_or_sections", "indices_or_sections", "sections", "indices")
    given = (kwargs[name] for name in named if name in kwargs)
    at = args[1] if len(args) > 1 else next(given)
    at = at.tolist() if isinstance(at, Tensor) else at
    dense = _dense(args[0].size(dim), extents)
    if isinstance(at, int):
        parts = [dense // at + (part < dense % at) for part in range(at)]
    else:
        ends = [slice(None, end).indices(dense)[1] for end in at]
        parts = [max(0, end - start) for start, end in pairwise((0, *ends, dense))]
    return [args[0], [left_of(extents, n, at) for at, n in enumerate(parts)], dim], {}


def _dense(left: int, extents: Extents) -> int:
    """How long a dimension was, of which so much is left."""
    return left + sum(dense - kept for dense, kept in extents.values())


def _narrow(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    at = dict(zip(("dim", "start", "length"), args[1:], strict=False)) | kwargs
    start, length = (left_of(extents, int(at[n]), i) for i, n in enumerate(("start", "length")))
    return [args[0], at["dim"], start, length], {}


def _take(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    index = list(args[1]) if isinstance(args[1], tuple) else [args[1]]
    for dim, at in sliced_dims(args[1], args[0].dim()).items():
        own = {stretch - 3 * dim: each for stretch, each in extents.items()}
        if any(stretch in own for stretch in range(3)):
            index[at] = left_of_slice(own, index[at])
    return [args[0], tuple(index)], kwargs


def _norm(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    shape = args[1] if len(args) > 1 else kwargs.pop("normalized_shape")
    return [args[0], [left_of(extents, shape[0], 0)], *args[2:]], kwargs


def _scale(args: list[Any], kwargs: dict[str, Any], extents: Extents) -> Any:
    width = extents.get(args[0].dim() - 1)
    if width is not None and kwargs.get("scale") is None:
        kwargs["scale"] = width[0] ** -0.5
    return args, kwargs


def _left(sizes: Sequence[Any], extents: Extents) -> list[Any]:
    return [
        size if dim not in extents or _is_rest(size) else size * extents[dim][1] // extents[dim][0]
        for dim, size in enumerate(sizes)
    ]


def _is_rest(size: Any) -> bool:
    return isinstance(size, int) and size == -1


_Arguments = tuple[list[Any], dict[str, Any]]
TRANSLATIONS: Final[dict[str, Callable[[list[Any], dict[str, Any], Extents], _Arguments]]] = {
    "named": _name,
    "unflattened": _unflatten,
    "split": _split,
    "chunk": _chunk,
    "tensor_split": _tensor_split,
    "narrow": _narrow,
    "taken": _take,
    "normed": _norm,
    "scale": _scale,
}
