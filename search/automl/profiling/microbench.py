"""An operator among its like: how a key is timed so that the sum of operators is the network.

An operator alone in a session costs about twice what it costs in a network (fixed costs of a
call, layout changes at both ends). So two models are timed that differ in copies of the operator
alone, and the difference is divided by the copies. What surrounds the copies keeps the runtime in
the layout that networks run in: cheap 1x1 convolutions on maps, additions on rows of features.

Beside each other (convolutions, pools, all that changes the shape): n consumers read n copies
of the operator in one model, one copy in the other. In a chain (what keeps the shape): n units
of narrow convolutions with and without the operator between them.

TensorRT merges operators that read one input into one wide operator, which is none of the
network's. For it the copies stand apart: each has an input and narrow convolutions of its own.

INT8: the same models with all values rounded, what surrounds the copies among them, so that an
operator reads and writes integers as it does inside a quantised network. What it costs to come
from float and to go back is a key of its own, "convert".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from math import prod
from typing import Final

from automl.errors import MeasureError, nearest
from automl.latency import CPU_RUNTIME, OpKey
from automl.network import WEIGHTED
from automl.profiling.conversions import conversion
from automl.profiling.graphs import Graph
from automl.profiling.half import half_model
from automl.profiling.integer import SCHEMES, has_integer_kernel, integer_model
from automl.profiling.operators import emit, input_shapes, output_shape, stands_alone
from automl.profiling.runner import Probe
from automl.profiling.runtimes import Runtime, find_runtime

_NARROW: Final = 16  # channels around the operator: one block of the blocked layouts
_IMAGE: Final = 4  # inputs of at most so many channels come from outside, in plain layout
_PRECISIONS: Final = ("fp32", "fp16", "int8")


def probe(key: OpKey, runtime: str = CPU_RUNTIME, scheme: str | None = None) -> Probe:
    """The models whose difference is the operator's time.

    Args:
        key: The operator.
        runtime: Name of what will run the models.
        scheme: In which integer operators are quantised, of `integer.SCHEMES`; None for the
            runtime's.

    Raises:
        UsageError: If there is no such runtime.
        MeasureError: If the runtime takes no ONNX, or the key's precision or operator cannot be
            run as a tiny model.
    """
    row = find_runtime(runtime)
    if not row.takes_onnx:
        raise MeasureError(
            f"{row.title} runs no ONNX and there is no converter here:"
            " operators cannot be measured with it, whole networks can"
        )
    if key.precision not in _PRECISIONS:
        raise MeasureError(
            f"no way to measure precision {key.precision!r} (there is: {', '.join(_PRECISIONS)})"
        )
    if key.precision != "int8":
        return _float_probe(key, row.merges)
    scheme = scheme or row.scheme
    if scheme not in SCHEMES:
        raise MeasureError(f"no quantization scheme {scheme!r}{nearest(scheme, SCHEMES)}")
    if key.op == "convert":
        return _conversion_probe(key, row, scheme)
    if not has_integer_kernel(key.op, key.detail, len(key.in_size)):
        what = f"{key.op} {key.detail}".rstrip()
        raise MeasureError(f"no integer kernel for {what!r}: it runs in float between conversions")
    found = _float_probe(replace(key, precision="fp32"), row.merges)
    return Probe(tuple(_integers(model, scheme, row) for model in found.models), found.weights)


def _conversion_probe(key: OpKey, runtime: Runtime, scheme: str) -> Probe:
    copies = _copies(key)
    pairs = [conversion(key, copies, there, runtime.merges) for there in (True, False)]
    models = tuple(_integers(content, scheme, runtime, floats) for content, floats in pairs)
    return Probe(models, (1.0 / copies, -1.0 / copies))


def _integers(content: bytes, scheme: str, runtime: Runtime, floats: Collection[str] = ()) -> bytes:
    """The integer model; what stays float is in the floats of the runtime's tables."""
    model = integer_model(content, scheme, floats)
    return half_model(model) if runtime.dense == "fp16" else model


def _float_probe(key: OpKey, merges: bool) -> Probe:
    copies = _copies(key)
    if key.op == "add" and not stands_alone(key) and not key.detail:
        models, shared = (_residual(key, copies, True), _residual(key, copies, False)), 0
    elif key.op in ("activation", "mul", "add", "shuffle") and not stands_alone(key):
        models, shared = (_chain(key, copies, True), _chain(key, copies, False)), 0
    elif merges:
        return _apart(key, copies)
    else:
        models, shared = (_beside(key, copies, copies), _beside(key, copies, 1)), 1
    factor = 1.0 / (copies - shared)
    return Probe(models, (factor, -factor))


def _copies(key: OpKey) -> int:
    """Many of the small, few of the large: guessed from work and traffic of an ordinary core."""
    moved = key.in_channels * prod(key.in_size) + key.out_channels * prod(key.out_size)
    if key.op in WEIGHTED:
        moved += key.in_channels * key.out_channels // key.groups * prod(key.kernel)
    seconds = key.macs / 3e10 + moved / 2e9
    return 9 if seconds < 2e-4 else 5 if seconds < 1e-3 else 3


def _source(graph: Graph, shape: Sequence[int]) -> str:
    """A tensor as networks hand it on: maps come out of a convolution."""
    if len(shape) != 4 or shape[1] <= _IMAGE:
        return graph.input(*shape)
    narrow = graph.input(1, _NARROW, *shape[2:])
    return graph.relu(graph.conv(narrow, _NARROW, shape[1]))


def _beside(key: OpKey, copies: int, distinct: int) -> bytes:
    graph = Graph(key.precision)
    if stands_alone(key):
        inputs = [graph.input(*shape) for shape in input_shapes(key)]
    else:
        inputs = [_source(graph, shape) for shape in input_shapes(key)]
    outputs = [emit(graph, key, inputs) for _ in range(distinct)]
    read = [outputs[i % distinct] for i in range(copies)]
    if stands_alone(key):
        return graph.serialise(graph.sum([*read, graph.input(*output_shape(key))]))
    total = graph.sum([graph.conv(data, key.out_channels, _NARROW) for data in read])
    if key.op != "norm":
        return graph.serialise(total)
    # A second reader of what is normalised keeps the norm from being folded into the source.
    return graph.serialise(total, graph.conv(inputs[0], key.in_channels, _NARROW))


def _apart(key: OpKey, copies: int) -> Probe:
    """Copies with inputs of their own, less what surrounds them.

    Around a copy on maps stand a convolution that widens and one that narrows. They are timed back
    to back at the copy's input and at its output: half of each pair is what it has around it. Less
    exact where input and output differ, by what widening and narrowing differ in. Rows of features
    come from outside; what they are added up with is timed without them.
    """
    models = [_branches(key, copies)]
    if stands_alone(key):
        models.append(_rows_alone(key, copies))
        weights = [1.0 / copies, -1.0 / copies]
    else:
        shapes = [shape for shape in input_shapes(key) if shape[1] > _IMAGE and len(shape) == 4]
        pairs = [*shapes, (1, key.out_channels, *key.out_size)]
        models += [_pairs(key, shape, copies) for shape in pairs]
        weights = [1.0 / copies, *(-0.5 / copies for _ in pairs)]
    return Probe(tuple(models), tuple(weights))


def _branches(key: OpKey, copies: int) -> bytes:
    graph = Graph(key.precision)
    found = []
    for _ in range(copies):
        shapes = input_shapes(key)
        if stands_alone(key):
            found.append(emit(graph, key, [graph.input(*shape) for shape in shapes]))
        else:
            out = emit(graph, key, [_source(graph, shape) for shape in shapes])
            found.append(graph.conv(out, key.out_channels, _NARROW))
    return graph.serialise(graph.sum(found))


def _pairs(key: OpKey, shape: Sequence[int], copies: int) -> bytes:
    """Widening to `shape` and narrowing at once, so many times beside each other."""
    graph = Graph(key.precision)
    sources = [
        graph.relu(graph.conv(graph.input(1, _NARROW, *shape[2:]), _NARROW, shape[1]))
        for _ in range(copies)
    ]
    return graph.serialise(graph.sum([graph.conv(data, shape[1], _NARROW) for data in sources]))


def _rows_alone(key: OpKey, copies: int) -> bytes:
    graph = Graph(key.precision)
    return graph.serialise(graph.sum([graph.input(*output_shape(key)) for _ in range(copies)]))


def _chain(key: OpKey, copies: int, included: bool) -> bytes:
    graph = Graph(key.precision)
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
    graph = Graph(key.precision)
    data = _source(graph, input_shapes(key)[0])
    for _ in range(copies):
        narrow = graph.relu(graph.conv(data, key.in_channels, _NARROW))
        branch = graph.conv(narrow, _NARROW, key.in_channels)
        data = emit(graph, key, [branch, data]) if included else graph.relu(branch)
    return graph.serialise(data)
