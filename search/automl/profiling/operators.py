"""One operator of a table's key as ONNX nodes: `emit(graph, key, inputs) -> output`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Final

from automl.errors import MeasureError, nearest
from automl.latency import OpKey
from automl.profiling.data_operators import DATA_OPERATORS, data_shapes
from automl.profiling.graphs import Graph

#: Norms of rows of features.
_ROWS: Final = ("layer", "rms")

Emit = Callable[[Graph, OpKey, Sequence[str]], str]


def emit(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    """Add the operator to the graph; a ReLU that a table's rows hold is added with it.

    Raises:
        MeasureError: If there is no such operator or no such detail.
    """
    builder = _BUILDERS.get(key.op)
    if builder is None:
        raise MeasureError(f"no way to run operator {key.op!r}{nearest(key.op, _BUILDERS)}")
    return builder(graph, key, inputs)


def input_shapes(key: OpKey) -> tuple[tuple[int, ...], ...]:
    """Shapes of the operator's inputs at batch 1."""
    if key.op in DATA_OPERATORS:
        return data_shapes(key)[0]
    if key.op == "concat":
        return tuple((1, part, *key.in_size) for part in _parts(key))
    if key.op == "matmul":
        rows = key.in_size[0]
        return (
            (1, key.groups, rows, key.in_channels),
            (1, key.groups, key.in_channels, key.out_channels),
        )
    if key.op == "linear" and key.in_size == (1, 1):
        return ((1, key.in_channels),)
    if key.op == "softmax":
        return ((1, key.groups, key.in_size[0] * key.in_size[1], key.in_channels),)
    if on_tokens(key):
        shape: tuple[int, ...] = (1, key.in_size[0], key.in_channels)
        channel: tuple[int, ...] = (1, 1, key.in_channels)
    else:
        shape = (key.batch, key.in_channels, *key.in_size)
        channel = (1, key.in_channels, *(1 for _ in key.in_size))
    if key.op in ("add", "mul"):
        return (shape, channel if key.detail == "channel" else shape)
    return (shape,)


def output_shape(key: OpKey) -> tuple[int, ...]:
    """Shape of the operator's output at batch 1."""
    if key.op in DATA_OPERATORS:
        return data_shapes(key)[1]
    if key.op == "matmul":
        return (1, key.groups, key.in_size[0], key.out_channels)
    if on_tokens(key):
        return (*input_shapes(key)[0][:-1], key.out_channels)
    return (key.batch, key.out_channels, *key.out_size)


def stands_alone(key: OpKey) -> bool:
    """Whether no convolutions are around the operator when it is timed.

    So it is with operators on rows of features, and with those that only move or sort numbers.
    Maps of three dimensions are in plain layout, whatever is around.
    """
    return on_tokens(key) or key.op in DATA_OPERATORS or len(key.in_size) > 2


def on_tokens(key: OpKey) -> bool:
    """Whether the operator runs on rows of features and not on maps."""
    if key.op in ("linear", "matmul", "softmax") or (key.op == "norm" and key.detail in _ROWS):
        return True
    return key.in_size[1] == 1 and key.op in ("activation", "add", "mul") and key.in_size[0] > 1


def _convolution(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    out = graph.conv(
        inputs[0],
        key.in_channels,
        key.out_channels,
        key.kernel,
        groups=key.groups,
        strides=key.stride,
        dilations=key.dilation,
        pads=(*key.padding, *key.padding),
    )
    return graph.relu(out)


def _transposed(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    extra = [
        key.out_size[i]
        - ((key.in_size[i] - 1) * key.stride[i] - 2 * key.padding[i])
        - (key.dilation[i] * (key.kernel[i] - 1) + 1)
        for i in range(len(key.kernel))
    ]
    fan_in = key.in_channels // key.groups * prod(key.kernel)
    shape = (key.in_channels, key.out_channels // key.groups, *key.kernel)
    out = graph.node(
        "ConvTranspose",
        inputs[0],
        graph.weight(*shape, fan_in=fan_in),
        graph.weight(key.out_channels),
        strides=key.stride,
        dilations=key.dilation,
        pads=(*key.padding, *key.padding),
        output_padding=extra,
        group=key.groups,
    )
    return graph.relu(out)


def _linear(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    if key.in_size == (1, 1):
        weight = graph.weight(key.out_channels, key.in_channels, fan_in=key.in_channels)
        return graph.node("Gemm", inputs[0], weight, graph.weight(key.out_channels), transB=1)
    weight = graph.weight(key.in_channels, key.out_channels, fan_in=key.in_channels)
    product = graph.node("MatMul", inputs[0], weight)
    return graph.node("Add", product, graph.weight(key.out_channels))


def _matmul(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    return graph.node("MatMul", *inputs)


def _pool(op_type: str) -> Emit:
    def build(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
        ceil = key.out_size != tuple(
            (key.in_size[i] + 2 * key.padding[i] - key.dilation[i] * (key.kernel[i] - 1) - 1)
            // key.stride[i]
            + 1
            for i in range(len(key.kernel))
        )
        return graph.node(
            op_type,
            inputs[0],
            kernel_shape=key.kernel,
            strides=key.stride,
            pads=(*key.padding, *key.padding),
            ceil_mode=int(ceil),
        )

    return build


def _global_pool(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    return graph.node("GlobalAveragePool", inputs[0])


def _add(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    total = graph.node("Add", *inputs)
    return total if key.detail == "channel" or on_tokens(key) else graph.relu(total)


def _mul(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    return graph.node("Mul", *inputs)


def _parts(key: OpKey) -> tuple[int, ...]:
    """Channels of a concatenation's inputs: even, in sixteens or eights where that divides them."""
    count = int(key.detail or 2)
    unit = next(
        u for u in (16, 8, 1) if key.out_channels % u == 0 and key.out_channels // u >= count
    )
    units = key.out_channels // unit
    return tuple(unit * (units // count + (i < units % count)) for i in range(count))


def _concat(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    return graph.node("Concat", *inputs, axis=1)


def _norm(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    channels = key.in_channels
    scale, shift = graph.positive(channels), graph.weight(channels)
    if key.detail == "layer":
        return graph.node("LayerNormalization", inputs[0], scale, shift, axis=-1)
    if key.detail == "rms":
        squares = graph.node("Mul", inputs[0], inputs[0])
        size = graph.node("Sqrt", graph.node("ReduceMean", squares, graph.integers(-1)))
        return graph.node("Mul", graph.node("Div", inputs[0], size), scale)
    if key.detail in ("group", "instance"):
        return graph.node("InstanceNormalization", inputs[0], scale, shift)
    mean, variance = graph.weight(channels), graph.positive(channels)
    return graph.relu(graph.node("BatchNormalization", inputs[0], scale, shift, mean, variance))


#: Functions that are one node, and their attributes.
_FUNCTIONS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "hardswish": ("HardSwish", {}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 1.0 / 6.0, "beta": 0.5}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "celu": ("Celu", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "gelu": ("Gelu", {}),
    "mish": ("Mish", {}),
    "abs": ("Abs", {}),
    "ceil": ("Ceil", {}),
    "cos": ("Cos", {}),
    "erf": ("Erf", {}),
    "exp": ("Exp", {}),
    "floor": ("Floor", {}),
    "log": ("Log", {}),
    "neg": ("Neg", {}),
    "reciprocal": ("Reciprocal", {}),
    "round": ("Round", {}),
    "sign": ("Sign", {}),
    "sin": ("Sin", {}),
    "sqrt": ("Sqrt", {}),
}
_CLIPPED: Final = ("relu6", "hardtanh", "clamp")


def _activation(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    data = inputs[0]
    if key.detail == "silu":
        return graph.node("Mul", data, graph.node("Sigmoid", data))
    if key.detail in _CLIPPED:
        return graph.node("Clip", data, graph.scalar(0.0), graph.scalar(6.0))
    if key.detail == "pow":
        return graph.node("Pow", data, graph.scalar(2.0))
    if key.detail == "rsqrt":
        return graph.node("Reciprocal", graph.node("Sqrt", data))
    if key.detail == "log_sigmoid":
        return graph.node("Log", graph.node("Sigmoid", data))
    if key.detail == "cumsum":
        return graph.node("CumSum", data, graph.integers(-1))
    if key.detail == "prelu":
        return graph.node("PRelu", data, graph.positive(key.in_channels, 1, 1))
    if key.detail not in _FUNCTIONS:
        known = (*_FUNCTIONS, *_CLIPPED, "silu", "pow", "rsqrt", "log_sigmoid", "cumsum", "prelu")
        raise MeasureError(f"no way to run activation {key.detail!r}{nearest(key.detail, known)}")
    op_type, attributes = _FUNCTIONS[key.detail]
    return graph.node(op_type, data, **attributes)


def _softmax(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    return graph.node("Softmax", inputs[0], axis=-1)


def _resize(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    pairs = zip(key.out_size, key.in_size, strict=True)
    scales = [written / read for written, read in pairs]
    mode = "nearest" if key.detail in ("", "nearest") else "linear"
    attributes: dict[str, object] = {"mode": mode}
    if mode == "nearest":
        attributes |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Resize", inputs[0], "", graph.numbers(1.0, 1.0, *scales), **attributes)


def _shuffle(graph: Graph, key: OpKey, inputs: Sequence[str]) -> str:
    channels, size = key.in_channels, key.in_size
    split = graph.integers(1, key.groups, channels // key.groups, *size)
    turned = graph.node("Transpose", graph.node("Reshape", inputs[0], split), perm=(0, 2, 1, 3, 4))
    return graph.node("Reshape", turned, graph.integers(1, channels, *size))


_BUILDERS: Final[dict[str, Emit]] = {
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "conv_transpose2d": _transposed,
    "conv3d": _convolution,
    "depthwise_conv3d": _convolution,
    "conv_transpose3d": _transposed,
    "linear": _linear,
    "matmul": _matmul,
    "max_pool": _pool("MaxPool"),
    "avg_pool": _pool("AveragePool"),
    "global_avg_pool": _global_pool,
    "add": _add,
    "mul": _mul,
    "concat": _concat,
    "norm": _norm,
    "activation": _activation,
    "softmax": _softmax,
    "resize": _resize,
    "shuffle": _shuffle,
    **DATA_OPERATORS,
}
