"""Along which dimensions of a value its channels lie, told by its labels and by what wrote it.

Where labels change along one dimension, that is it: the second of maps, the last of tokens, the
second of sequences that a convolution along time gives. Views lay channels out in several (groups,
heads) and put them together again. Values without labels, as products of activations, take after
the operation and what it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import torch

from automl.network.labels import VIEWS, compact, names, varying
from automl.network.union_find import core

Tensor = torch.Tensor
#: Dimensions of a value, ascending.
Dims = tuple[int, ...]
#: How a tensor's data lie: strides, and where the first value is.
Strides = tuple[tuple[int, ...], int]
#: Operators that write vectors along the last dimension.
_LAST: Final = names(
    "linear layer_norm rms_norm native_layer_norm bmm mm addmm baddbmm matmul embedding"
)
#: Operators that write maps.
_SECOND: Final = names("conv conv_transpose convolution")


@dataclass(frozen=True, slots=True)
class Layout:
    """A value's shape, and the dimensions along which its channels lie."""

    shape: tuple[int, ...]
    dims: Dims


def channel_dims(labels: Tensor, op: str, arguments: Sequence[Any], read: Layout) -> Dims:
    """Where the channels of an operation's output lie.

    Args:
        labels: Of the output, of its shape.
        op: The operation.
        arguments: Its plain arguments, tensors as None.
        read: Its first input.
    """
    found = varying(labels)
    likely = _likely(op, tuple(labels.shape), arguments, read)
    if set(found) <= set(likely):
        return likely
    return tuple(found) if _all_different(labels) else (found[0],)


def line_of(labels: Tensor, dims: Dims) -> Tensor:
    """Labels along these dimensions; none where they change along others too."""
    extent = 1
    for dim in dims:
        extent *= labels.shape[dim]
    if not set(varying(labels)) <= set(dims):
        return torch.zeros(extent, dtype=torch.int64)
    for dim in range(labels.dim()):
        if dim not in dims:
            labels = labels.narrow(dim, 0, min(1, labels.shape[dim]))
    return labels.reshape(-1) if labels.numel() else torch.zeros(extent, dtype=torch.int64)


def lies_in_order(tensor: Tensor) -> bool:
    """Whether a tensor's data lie in the order of its dimensions, or of maps with channels last."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return True
    return bool(tensor.is_contiguous())


def restrided(labels: Tensor, strides: Strides, output: Tensor) -> Tensor:
    """Labels of a view that names its strides, as pooling to one place gives of some maps.

    Args:
        labels: Of what it views.
        strides: How the data of that lie.
        output: The view, of the same data.
    """
    stored = torch.zeros(
        output.untyped_storage().nbytes() // output.element_size(), dtype=torch.int64
    )
    shape = [1 if not each else n for n, each in zip(labels.shape, strides[0], strict=True)]
    here = stored.as_strided(shape, *strides)
    here.copy_(labels[tuple(slice(0, extent) for extent in shape)])
    return compact(stored.as_strided(output.shape, output.stride(), output.storage_offset()))


def _all_different(labels: Tensor) -> bool:
    small = core(labels)
    return small.numel() == len(set(small.flatten().tolist()))


def _likely(op: str, shape: tuple[int, ...], arguments: Sequence[Any], read: Layout) -> Dims:
    count = len(shape)
    if count == 0:
        return ()
    if op in _SECOND and count > 2:
        return (1,)
    if count <= 2 or op in _LAST or "scaled_dot_product" in op:
        return (count - 1,)
    if op in VIEWS:
        return _viewed(shape, read) or _usual(count)
    if count != len(read.shape):
        return _usual(count)
    if op == "permute":
        order = [dim % count for dim in arguments[1]]
        return tuple(sorted(order.index(dim) for dim in read.dims))
    if op == "transpose":
        first, second = (dim % count for dim in arguments[1:3])
        swapped = {first: second, second: first}
        return tuple(sorted(swapped.get(dim, dim) for dim in read.dims))
    return read.dims


def _usual(count: int) -> Dims:
    return (1,) if count in (4, 5) else (count - 1,)


def _viewed(shape: tuple[int, ...], read: Layout) -> Dims:
    """Dimensions of a view that hold what those of the whole held; () where they do not."""
    first, last = read.dims[0], read.dims[-1]
    if read.dims != tuple(range(first, last + 1)):
        return ()
    ahead, held = prod(read.shape[:first]), prod(read.shape[first : last + 1])
    for start in range(len(shape)):
        for end in range(start + 1, len(shape) + 1):
            dims = tuple(dim for dim in range(start, end) if shape[dim] > 1)
            if prod(shape[:start]) == ahead and prod(shape[start:end]) == held and dims:
                return dims if dims == tuple(range(dims[0], dims[-1] + 1)) else ()
    return ()
