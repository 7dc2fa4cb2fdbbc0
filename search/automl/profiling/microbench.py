"""An operator among its like: how a key is timed so that the sum of operators is the network.

An operator alone in a session costs about twice what it costs in a network (fixed costs of a
call, layout changes at both ends). So two models are timed that differ in copies of the operator
alone, and the difference is divided by the copies. What surrounds the copies keeps the runtime in
the layout that networks run in: cheap 1x1 convolutions on maps, additions on rows of features.

Beside each other (convolutions, pools, all that changes the shape): n consumers read n copies
of the operator in one model, one copy in the other. In a chain (what keeps the shape): n units
of narrow convolutions with and without the operator between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from automl.errors import MeasureError
from automl.latency.keys import OpKey
from automl.profiling.graphs import Graph
from automl.profiling.operators import emit, input_shapes, on_tokens
from automl.profiling.runner import Probe

_NARROW: Final = 16  # channels around the operator: one block of the blocked layouts
_IMAGE: Final = 4  # inputs of at most so many channels come from outside, in plain layout


def probe(key: OpKey) -> Probe:
    """The models whose difference is the operator's time.

    Raises:
        MeasureError: If the key's precision or operator cannot be run as a tiny model.
    """
    build = _PRECISIONS.get(key.precision)
    if build is None:
        raise MeasureError(
            f"no way to measure precision {key.precision!r} (there is: {', '.join(_PRECISIONS)})"
        )
    return build(key)


def _float_probe(key: OpKey) -> Probe:
    copies = _copies(key)
    if key.op == "add" and not on_tokens(key) and not key.detail:
        models, shared = (_residual(key, copies, True), _residual(key, copies, False)), 0
    elif key.op in ("activation", "mul", "add", "shuffle") and not on_tokens(key):
        models, shared = (_chain(key, copies, True), _chain(key, copies, False)), 0
    else:
        models, shared = (_beside(key, copies, copies), _beside(key, copies, 1)), 1
    factor = 1.0 / (copies - shared)
    return Probe(models, (factor, -factor))


_PRECISIONS: Final[dict[str, Callable[[OpKey], Probe]]] = {"fp32": _float_probe}


def _copies(key: OpKey) -> int:
    """Many of the small, few of the large: guessed from work and traffic of an ordinary core."""
    area_in, area_out = key.in_size[0] * key.in_size[1], key.out_size[0] * key.out_size[1]
    moved = key.in_channels * area_in + key.out_channels * area_out
    if key.op in ("conv2d", "depthwise_conv2d", "conv_transpose2d", "linear"):
        moved += key.in_channels * key.out_channels // key.groups * key.kernel[0] * key.kernel[1]
    seconds = key.macs / 3e10 + moved / 2e9
    return 9 if seconds < 2e-4 else 5 if seconds < 1e-3 else 3


def _source(graph: Graph, shape: Sequence[int]) -> str:
    """A tensor as networks hand it on: maps come out of a convolution."""
    if len(shape) != 4 or shape[1] <= _IMAGE:
        return graph.input(*shape)
    narrow = graph.input(1, _NARROW, *shape[2:])
    return graph.relu(graph.conv(narrow, _NARROW, shape[1]))


def _beside(key: OpKey, copies: int, distinct: int) -> bytes:
    graph = Graph()
    if on_tokens(key):
        inputs = [graph.input(*shape) for shape in input_shapes(key)]
    else:
        inputs = [_source(graph, shape) for shape in input_shapes(key)]
    outputs = [emit(graph, key, inputs) for _ in range(distinct)]
    read = [outputs[i % distinct] for i in range(copies)]
    if on_tokens(key):
        return graph.serialise(graph.sum([*read, graph.input(*_rows_out(key))]))
    total = graph.sum([graph.conv(data, key.out_channels, _NARROW) for data in read])
    if key.op != "norm":
        return graph.serialise(total)
    # A second reader of what is normalised keeps the norm from being folded into the source.
    return graph.serialise(total, graph.conv(inputs[0], key.in_channels, _NARROW))


def _rows_out(key: OpKey) -> tuple[int, ...]:
    """Shape of the output of an operator on rows of features."""
    if key.op == "matmul":
        return (1, key.groups, key.in_size[0], key.out_channels)
    shape = input_shapes(key)[0]
    return (*shape[:-1], key.out_channels)


def _chain(key: OpKey, copies: int, included: bool) -> bytes:
    graph = Graph()
    data = graph.input(1, _NARROW, *key.in_size)
    others = [
        graph.input(*shape) if key.detail == "channel" else _source(graph, shape)
        for shape in input_shapes(key)[1:]
    ]
    for _ in range(copies):
        wide = graph.conv(data, _NARROW, key.in_channels)
        if included:
            wide = emit(graph, key, [wide, *others])
        data = graph.conv(wide, key.in_channels, _NARROW)
    return graph.serialise(data)


def _residual(key: OpKey, copies: int, included: bool) -> bytes:
    graph = Graph()
    data = _source(graph, input_shapes(key)[0])
    for _ in range(copies):
        narrow = graph.relu(graph.conv(data, key.in_channels, _NARROW))
        branch = graph.conv(narrow, _NARROW, key.in_channels)
        data = emit(graph, key, [branch, data]) if included else graph.relu(branch)
    return graph.serialise(data)
