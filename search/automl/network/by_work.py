"""Operators without a rule of their own, priced by their work: what they move, what they multiply.

Nothing that runs costs nothing. What an operator does is told by its name as far as that matters
(it reads much and writes little, it gathers, it sorts), and else by the shapes alone. One that has
weights and of which nothing else is known is counted in multiply-accumulates and bytes, as if each
of its weights met each place of its output; it has no time on any device (`UNPRICED`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

import torch

from automl.network.labels import names
from automl.network.layers import UNPRICED, Extent, Layer
from automl.network.recorded import Call

_REDUCTIONS: Final = names(
    "sum mean var std amax amin max min prod any all argmax argmin norm linalg_vector_norm "
    "logsumexp var_mean std_mean aminmax count_nonzero nansum nanmean"
)
_GATHERS: Final = names(
    "index gather index_select take embedding masked_select take_along_dim scatter scatter_add "
    "scatter_reduce index_put index_add _unsafe_index masked_scatter slice_scatter select_scatter "
    "as_strided_scatter"
)
_SORTS: Final = names("topk sort argsort kthvalue median mode msort _unique2 unique_dim")
#: What is computed once an element, one after another.
_SCANS: Final = names("cumsum cumprod cummax cummin logcumsumexp")


def vectors(total: int, channels: int) -> tuple[int, Extent]:
    """(channels, (vectors, 1)) of `total` numbers in vectors of so many, if they come out even."""
    channels = channels if channels and total % channels == 0 else 1
    return channels, (max(1, total // channels), 1)


def by_work(call: Call, op: str, plain: Layer) -> Layer:
    """The layer of an operator that no other rule knows.

    Args:
        call: The operation.
        op: Its name, without the mark of in-place variants.
        plain: The layer's name, and the channels and sizes of its first input and its output.
    """
    name, read, written = plain.name, plain.in_channels, plain.out_channels
    inputs = max(map(prod, call.operands or call.in_shapes), default=1)
    outputs = prod(call.out_shapes[0]) if call.out_shapes else 1
    if op in _SORTS:
        read = call.in_shapes[0][_dimension(call)] if call.in_shapes[0] else 1
        return _layer(name, "sort", inputs, read, outputs, 1, op)
    if op in _GATHERS:
        return _layer(name, "gather", outputs, written, outputs, written, op)
    if op in _REDUCTIONS:
        return _layer(name, "reduce", inputs, read, outputs, written, op)
    if op in _SCANS or call.operands == call.out_shapes[:1]:
        return replace(plain, op="activation", detail=op)
    if call.weights and not _broadcast(call):
        return _unpriced(call, op, name, outputs, written)
    full = sum(prod(shape) == outputs for shape in call.operands)
    if len(call.operands) == full:
        return replace(plain, op="elementwise", detail=op, groups=full)
    found = _layer(name, "elementwise", inputs, read, outputs, written, op)
    return replace(found, groups=max(1, full))


def bags(call: Call, name: str) -> Layer:
    """The sum of rows of a table of weights."""
    _, dim = call.operands[0]
    rows = max(1, prod(call.operands[1]))
    return _layer(name, "gather", rows * dim, dim, prod(call.out_shapes[0]), dim, "embedding_bag")


def bilinear(call: Call, name: str) -> Layer:
    """A product of two vectors' outer product with weights [outputs, first, second]."""
    outputs, first, second = call.operands[1] if len(call.operands[1]) == 3 else (1, 1, 1)
    rows = (max(1, prod(call.out_shapes[0]) // outputs), 1)
    return Layer(name, "linear", first * second, outputs, in_size=rows, out_size=rows)


def recurrent(call: Call, module: Any) -> list[Layer]:
    """One layer for each of those that a recurrent module stacks; its directions run as groups."""
    shape = call.in_shapes[0]
    steps = shape[1] if module.batch_first and len(shape) == 3 else shape[0]
    batch = max(1, prod(shape) // (steps * shape[-1]))
    directions = 2 if module.bidirectional else 1
    written = module.proj_size or module.hidden_size
    rows: dict[str, Extent] = {"in_size": (steps, 1), "out_size": (steps, 1)}
    name, op = call.step.module, call.step.op
    return [
        Layer(
            name if module.num_layers == 1 else f"{name}.{number}",
            op,
            module.input_size if number == 0 else written * directions,
            written,
            groups=directions,
            detail=str(module.hidden_size) if module.proj_size else "",
            batch=batch,
            **rows,
        )
        for number in range(module.num_layers)
    ]


def _layer(
    name: str, op: str, inputs: int, read: int, outputs: int, written: int, detail: str
) -> Layer:
    read, in_size = vectors(inputs, read)
    written, out_size = vectors(outputs, written)
    return Layer(name, op, read, written, in_size=in_size, out_size=out_size, detail=detail)


def _unpriced(call: Call, op: str, name: str, outputs: int, written: int) -> Layer:
    given = list(call.in_shapes)
    weights = 0
    for shape in call.operands:
        if shape in given:
            given.remove(shape)
        elif len(shape) > 1:
            weights += prod(shape)
    channels, places = vectors(outputs, written)
    read, left = divmod(weights, channels)
    if left:
        read, channels = weights, 1
    module = call.step.address[0]
    where = f"{op} in {module}" if module else op
    return Layer(
        name, UNPRICED, max(1, read), channels, in_size=places, out_size=places, detail=where
    )


def _dimension(call: Call) -> int:
    """Along which a sort goes."""
    place = 2 if call.step.op in ("topk", "kthvalue") else 1
    given = call.arguments[place] if len(call.arguments) > place else -1
    return given if type(given) is int else -1


def _broadcast(call: Call) -> bool:
    """Whether each number of the output comes of one of each operand."""
    try:
        shape: Sequence[int] = torch.broadcast_shapes(*call.operands)
    except RuntimeError:
        return False
    return tuple(shape) == call.out_shapes[0]
