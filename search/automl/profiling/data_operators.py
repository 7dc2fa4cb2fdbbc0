"""Operators that are neither layers nor pools, as ONNX nodes: recurrent ones, and those on numbers.

They stand by themselves among their like (`automl.profiling.microbench`), and their inputs and
outputs have the shapes that are given here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Final

import numpy as np

from automl.errors import MeasureError, nearest
from automl.latency import OpKey
from automl.network import RECURRENT
from automl.profiling.graphs import Graph

Shapes = tuple[tuple[int, ...], ...]

#: Operators of two values that are one node, and their attributes.
_PAIRED: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "maximum": ("Max", {}),
    "minimum": ("Min", {}),
    "pow": ("Pow", {}),
    "fmod": ("Mod", {"fmod": 1}),
    "remainder": ("Mod", {"fmod": 1}),
}
_COMPARED: Final = {
    "gt": "Greater",
    "lt": "Less",
    "ge": "GreaterOrEqual",
    "le": "LessOrEqual",
    "eq": "Equal",
}
_CHOSEN: Final = ("where", "masked_fill")
_REDUCED: Final = {
    "sum": "ReduceSum",
    "mean": "ReduceMean",
    "amax": "ReduceMax",
    "max": "ReduceMax",
    "amin": "ReduceMin",
    "min": "ReduceMin",
    "prod": "ReduceProd",
    "norm": "ReduceL2",
    "linalg_vector_norm": "ReduceL2",
    "logsumexp": "ReduceLogSumExp",
    "any": "ReduceMax",
    "all": "ReduceMin",
    "aminmax": "ReduceMax",
    "count_nonzero": "ReduceSum",
    "nansum": "ReduceSum",
    "nanmean": "ReduceMean",
}
#: Those that go over their numbers twice: the mean square of what differs from the mean.
_SPREADS: Final = ("var", "std", "var_mean", "std_mean")


def data_shapes(key: OpKey) -> tuple[Shapes, tuple[int, ...]]:
    """Shapes of the inputs and of the output of an operator of this kind."""
    written = key.out_channels * prod(key.out_size)
    if key.op in RECURRENT:
        steps, batch = key.in_size[0], key.batch
        return ((steps, batch, key.in_channels),), (steps, key.groups, batch, key.out_channels)
    if key.op == "elementwise":
        shape = (1, key.out_channels, *key.out_size)
        return (shape,) * max(2, key.groups), shape
    if key.op == "gather":
        rows = max(1, key.in_channels * prod(key.in_size) // key.out_channels)
        return ((rows, key.out_channels),), (written // key.out_channels, key.out_channels)
    rows = prod(key.in_size)
    if key.op == "sort":
        return ((rows, key.in_channels),), (rows, min(key.in_channels, max(1, written // rows)))
    if key.out_channels == key.in_channels and max(key.out_size) == 1:  # maps, of which one number
        return ((1, key.in_channels, *key.in_size),), (1, key.out_channels)
    return ((1, written, max(1, key.in_channels * rows // written)),), (1, written)


def recurrent(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    """An LSTM, a GRU or a plain recurrent operator."""
    if key.detail:
        raise MeasureError(f"no way to run {key.op!r} that writes fewer channels than it holds")
    hidden, gates = key.out_channels, RECURRENT[key.op] * key.out_channels
    return graph.node(
        key.op.upper(),
        inputs[0],
        graph.weight(key.groups, gates, key.in_channels, fan_in=key.in_channels),
        graph.weight(key.groups, gates, hidden, fan_in=hidden),
        graph.weight(key.groups, 2 * gates, fan_in=16),
        hidden_size=hidden,
        direction="bidirectional" if key.groups == 2 else "forward",
    )


def elementwise(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    """An operator of several values, number by number."""
    first, second = inputs[:2]
    if key.detail in _COMPARED:
        return graph.floats(graph.node(_COMPARED[key.detail], first, second))
    if key.detail in _CHOSEN:
        return graph.node("Where", graph.node("Greater", first, second), first, second)
    if key.detail not in _PAIRED:
        known = (*_PAIRED, *_COMPARED, *_CHOSEN)
        raise MeasureError(f"no way to run elementwise {key.detail!r}{nearest(key.detail, known)}")
    op_type, attributes = _PAIRED[key.detail]
    return graph.node(op_type, first, second, **attributes)


def reduced(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    """Many numbers made one."""
    ((shape,), _) = data_shapes(key)
    axes = range(2, len(shape))
    if key.detail in ("argmax", "argmin"):
        flat = graph.node("Reshape", inputs[0], graph.integers(*shape[:2], -1))
        name = "ArgMax" if key.detail == "argmax" else "ArgMin"
        return graph.floats(graph.node(name, flat, axis=2, keepdims=0))
    if key.detail in _SPREADS:
        mean = graph.node("ReduceMean", inputs[0], graph.integers(*axes), keepdims=1)
        apart = graph.node("Sub", inputs[0], mean)
        squares = graph.node("Mul", apart, apart)
        return graph.node("ReduceMean", squares, graph.integers(*axes), keepdims=0)
    if key.detail not in _REDUCED:
        known = (*_REDUCED, *_SPREADS)
        raise MeasureError(f"no way to run reduce {key.detail!r}{nearest(key.detail, known)}")
    return graph.node(_REDUCED[key.detail], inputs[0], graph.integers(*axes), keepdims=0)


def gathered(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    """Rows in another order."""
    (((rows, _),), (count, _)) = data_shapes(key)
    order = np.resize(np.random.default_rng(0).permutation(rows), count)
    return graph.node("Gather", inputs[0], graph.integers(*order.tolist()), axis=0)


def ordered(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    """The largest numbers of each row, in their order."""
    _, (_, count) = data_shapes(key)
    largest, _ = graph.nodes("TopK", 2, inputs[0], graph.integers(count), axis=1)
    return largest


#: What makes each of these operators.
DATA_OPERATORS: Final[dict[str, Callable[[Graph, OpKey, Sequence[str]], str]]] = {
    **dict.fromkeys(RECURRENT, recurrent),
    "elementwise": elementwise,
    "reduce": reduced,
    "gather": gathered,
    "sort": ordered,
}
