"""From recorded operations to priced layers: what each costs to run, and what is free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from automl.network.labels import names
from automl.network.layers import Layer
from automl.network.norms import NORMS, norm_channels
from automl.network.trace import Call

_RELUS = names("relu hardtanh clamp clamp_min threshold")
_FUSES_RELU = names("conv conv_transpose linear add batch_norm")
_FOLDS_NORM = names("conv conv_transpose linear convolution")
_ACTIVATIONS = names(
    "sigmoid silu gelu hardswish hardsigmoid tanh elu leaky_relu mish softplus exp sqrt pow rsqrt "
    "prelu log_sigmoid erf relu hardtanh clamp clamp_min threshold"
)
_ARITHMETIC = {"add": "add", "sub": "add", "rsub": "add", "mul": "mul", "div": "mul"}
_POOLS = {
    "max_pool2d_with_indices": "max_pool",
    "avg_pool2d": "avg_pool",
    "_adaptive_avg_pool2d": "avg_pool",
}
_MATMULS = names("mm bmm matmul addmm baddbmm")
_COPIES = names(
    "clone copy constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d "
    "replication_pad2d roll flip repeat pixel_shuffle pixel_unshuffle stack"
)
_ATTENTION = "scaled_dot_product"
_FREE = names(
    "view _unsafe_view reshape permute transpose t expand split split_with_sizes slice select "
    "squeeze unsqueeze detach alias unbind chunk as_strided _to_copy lift_fresh empty dropout "
    "native_dropout flatten unsafe_split"
)

Pair = tuple[int, int]


def base_name(op: str) -> str:
    """The operator's name without the mark of in-place variants."""
    return op.rstrip("_")


def is_free(call: Call, producer: Call | None) -> bool:
    """True where an operation costs nothing: views, and what fuses into its producer."""
    name = base_name(call.step.op)
    if name == "batch_norm":  # what cannot be folded in torch is folded by the runtime
        return producer is not None and producer.step.op in _FOLDS_NORM
    if name in _RELUS:
        return producer is not None and base_name(producer.step.op) in _FUSES_RELU
    if name in _ARITHMETIC and len(call.inputs) < 2:
        return True  # by a number: folded into a neighbour
    return name in _FREE


def layers_of(
    call: Call, modules: Mapping[str, nn.Module], name: str, strided: bool = False
) -> list[Layer] | None:
    """The priced layers of one operation at batch 1, [] where free; None where we know no price.

    `strided` is True where the input is a view whose data lie elsewhere: copying it costs.
    """
    op = base_name(call.step.op)
    if call.step.module and op != "prelu":
        return [_parametrised(call, modules[call.step.module])]
    shape, out, last = call.in_shapes[0], call.out_shapes[0] if call.out_shapes else (), call.last
    plain: dict[str, Any] = {"in_size": size(shape, last), "out_size": size(out, last)}
    channels = (width(shape, last), width(out, last))
    if op in _ARITHMETIC:
        return [_arithmetic(call, name, op)]
    if op in _ACTIVATIONS:
        return [Layer(name, "activation", *channels, detail=op, **plain)]
    if op in _POOLS or op == "mean":
        return _pool(call, name, op, channels, plain)
    if op == "cat":
        total = channels[1]
        return [Layer(name, "concat", total, total, detail=str(len(call.inputs)), **plain)]
    if op.startswith("upsample") or op.startswith("_upsample"):
        mode = "nearest" if "nearest" in op else "linear"
        return [Layer(name, "resize", *channels, detail=mode, **plain)]
    if op in ("native_layer_norm", "native_group_norm"):
        normed = shape[-1] if op == "native_layer_norm" else channels[0]
        return [_norm(name, op.removeprefix("native_"), shape, normed)]
    if op in ("native_batch_norm", "_native_batch_norm_legit"):
        return [Layer(name, "norm", *channels, **plain)]
    if op in ("_softmax", "_log_softmax"):
        return [Layer(name, "softmax", *channels, **plain)]
    if op == "convolution":
        return _convolution(call, name)
    if op in _MATMULS or _ATTENTION in op:
        return _matmul(call, name, op)
    if op in _COPIES:
        return [Layer(name, "shuffle", *channels, **plain)] if strided or op != "clone" else []
    return None


def _arithmetic(call: Call, name: str, op: str) -> Layer:
    both, out = max(call.in_shapes, key=_count), call.out_shapes[0]
    spread = any(_count(shape) < _count(both) for shape in call.in_shapes)
    return Layer(
        name,
        _ARITHMETIC[op],
        width(both, call.last),
        width(out, call.last),
        in_size=size(both, call.last),
        out_size=size(out, call.last),
        detail="channel" if spread else "",
    )


def _parametrised(call: Call, module: Any) -> Layer:
    shape, out = call.in_shapes[0], call.out_shapes[0]
    name = call.step.module
    sizes: dict[str, Any] = {"in_size": size(shape), "out_size": size(out)}
    if isinstance(module, nn.Linear):
        tokens: dict[str, Any] = {
            "in_size": places(shape, shape[-1]),
            "out_size": places(out, out[-1]),
        }
        return Layer(name, "linear", module.in_features, module.out_features, **tokens)
    if call.step.op == "batch_norm":
        return Layer(name, "norm", width(shape), width(out), **sizes)
    if call.step.op in NORMS:
        return _norm(name, call.step.op, shape, norm_channels(module))
    geometry: dict[str, Any] = {
        "kernel": _pair(module.kernel_size),
        "stride": _pair(module.stride),
        "padding": _padding(module),
        "dilation": _pair(module.dilation),
    }
    if isinstance(module, nn.Conv1d):
        sizes = {"in_size": (shape[2], 1), "out_size": (out[2], 1)}
        geometry["padding"] = (geometry["padding"][0], 0)
    transposed = isinstance(module, nn.ConvTranspose2d)
    op = _convolution_name(transposed, module.groups, module.in_channels)
    return Layer(
        name,
        op,
        module.in_channels,
        module.out_channels,
        groups=module.groups,
        **geometry,
        **sizes,
    )


def _norm(name: str, kind: str, shape: tuple[int, ...], channels: int) -> Layer:
    whole, detail = places(shape, channels), kind.removesuffix("_norm")
    return Layer(name, "norm", channels, channels, in_size=whole, out_size=whole, detail=detail)


def _convolution_name(transposed: bool, groups: int, in_channels: int) -> str:
    if transposed:
        return "conv_transpose2d"
    return "depthwise_conv2d" if groups > 1 and groups == in_channels else "conv2d"


def _convolution(call: Call, name: str) -> list[Layer] | None:
    """A convolution with weights of no layer, priced by its shapes; None in three dimensions."""
    read, out, weight = call.in_shapes[0], call.out_shapes[0], call.operands[1]
    if len(read) != 4:
        return None
    stride, padding, dilation, transposed, _, groups = call.arguments[3:9]
    return [
        Layer(
            name,
            _convolution_name(bool(transposed), groups, read[1]),
            read[1],
            out[1],
            (weight[2], weight[3]),
            _pair(stride),
            _pair(padding),
            _pair(dilation),
            groups,
            size(read),
            size(out),
        )
    ]


def _pool(
    call: Call, name: str, op: str, channels: Pair, plain: dict[str, Any]
) -> list[Layer] | None:
    if op == "mean" or (op == "_adaptive_avg_pool2d" and plain["out_size"] == (1, 1)):
        if len(call.in_shapes[0]) != 4:
            return [Layer(name, "global_avg_pool", *channels, **plain)]
        return [Layer(name, "global_avg_pool", width(call.in_shapes[0]), channels[1], **plain)]
    arguments = list(call.arguments[1:])
    if op == "_adaptive_avg_pool2d":
        step = _ratio(plain["in_size"], plain["out_size"])
        return [Layer(name, "avg_pool", *channels, step, step, **plain)]
    kernel = _pair(arguments[0])
    stride = _pair(arguments[1]) if len(arguments) > 1 and arguments[1] else kernel
    padding = _pair(arguments[2]) if len(arguments) > 2 else (0, 0)
    return [Layer(name, _POOLS[op], *channels, kernel, stride, padding, **plain)]


def _matmul(call: Call, name: str, op: str) -> list[Layer] | None:
    shapes = [shape for shape in call.in_shapes if len(shape) >= 2]
    if _ATTENTION in op:
        if len(shapes) < 3:
            return None
        *batch, queries, depth = shapes[0]
        keys, values = shapes[1][-2], shapes[2][-1]
        heads = _count(tuple(batch))
        both: dict[str, Any] = {"in_size": (queries, 1), "out_size": (queries, 1)}
        return [
            Layer(f"{name}.qk", "matmul", depth, keys, groups=heads, **both),
            Layer(f"{name}.softmax", "softmax", keys, keys, groups=heads, **both),
            Layer(f"{name}.av", "matmul", keys, values, groups=heads, **both),
        ]
    read, other = call.operands[-2:]
    *batch, rows, inner = read
    tokens: dict[str, Any] = {"in_size": (rows, 1), "out_size": (rows, 1)}
    if len(call.inputs) == 1:  # by weights that belong to no layer
        whole = places(read, inner)
        return [Layer(name, "linear", inner, other[-1], in_size=whole, out_size=whole)]
    return [Layer(name, "matmul", inner, other[-1], groups=_count(tuple(batch)), **tokens)]


def width(shape: tuple[int, ...], last: bool = False) -> int:
    """Channels of a value: the second dimension of maps, the last of tokens and vectors.

    `last` is True for maps whose channels lie last. Values of five dimensions are maps whose
    channels are laid out in two (a channel shuffle).
    """
    if len(shape) == 5:
        return shape[1] * shape[2]
    return shape[1] if len(shape) == 4 and not last else shape[-1] if shape else 1


def size(shape: tuple[int, ...], last: bool = False) -> Pair:
    """(height, width) of maps; (tokens, 1) of the rest, batch left out."""
    if len(shape) == 4 and last:
        return shape[1], shape[2]
    if len(shape) in (4, 5):
        return shape[-2], shape[-1]
    return _count(shape[1:-1]), 1


def places(shape: tuple[int, ...], channels: int) -> Pair:
    """(tokens, 1): how many vectors of `channels` a value of batch 1 holds."""
    return max(1, _count(shape) // max(1, channels)), 1


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1]) if len(value) > 1 else (value[0], 1)


def _padding(module: Any) -> Pair:
    if isinstance(module.padding, str):
        if module.padding == "valid":
            return 0, 0
        kernel, dilation = _pair(module.kernel_size), _pair(module.dilation)
        return dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2
    return _pair(module.padding)


def _ratio(inner: Pair, outer: Pair) -> Pair:
    return max(1, inner[0] // outer[0]), max(1, inner[1] // outer[1])
