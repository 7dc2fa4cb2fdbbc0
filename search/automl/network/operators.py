"""From recorded operations to priced layers: what each costs to run, and what is free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from automl.network.layers import Layer
from automl.network.trace import Call

_RELUS = frozenset("relu hardtanh clamp clamp_min threshold".split())
_FUSES_RELU = frozenset("conv conv_transpose linear add batch_norm".split())
_ACTIVATIONS = frozenset(
    "sigmoid silu gelu hardswish hardsigmoid tanh elu leaky_relu mish softplus exp sqrt pow rsqrt "
    "prelu log_sigmoid erf relu hardtanh clamp clamp_min threshold".split()
)
_ARITHMETIC = {"add": "add", "sub": "add", "rsub": "add", "mul": "mul", "div": "mul"}
_POOLS = {
    "max_pool2d_with_indices": "max_pool",
    "avg_pool2d": "avg_pool",
    "_adaptive_avg_pool2d": "avg_pool",
}
_MATMULS = frozenset("mm bmm matmul addmm baddbmm".split())
_ATTENTION = "scaled_dot_product"
_FREE = frozenset(
    "view _unsafe_view reshape permute transpose t expand split split_with_sizes slice select "
    "squeeze unsqueeze detach alias unbind chunk as_strided _to_copy lift_fresh empty dropout "
    "native_dropout flatten unsafe_split".split()
)

Pair = tuple[int, int]


def base_name(op: str) -> str:
    """The operator's name without the mark of in-place variants."""
    return op.rstrip("_")


def is_free(call: Call, producer: Call | None) -> bool:
    """True where an operation costs nothing on a device: views, and what fuses into its producer."""
    name = base_name(call.step.op)
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
    shape, out = call.in_shapes[0], call.out_shapes[0] if call.out_shapes else ()
    plain = {"in_size": size(shape), "out_size": size(out)}
    channels = (width(shape), width(out))
    if op in _ARITHMETIC:
        both = max(call.in_shapes, key=_count)
        spread = any(_count(s) < _count(both) for s in call.in_shapes)
        detail = "channel" if spread else ""
        both_size = {"in_size": size(both), "out_size": size(out)}
        return [Layer(name, _ARITHMETIC[op], width(both), width(out), detail=detail, **both_size)]
    if op in _ACTIVATIONS:
        return [Layer(name, "activation", *channels, detail=op, **plain)]
    if op in _POOLS or op == "mean":
        return _pool(call, name, op, channels, plain)
    if op == "cat":
        total = width(out)
        return [Layer(name, "concat", total, total, detail=str(len(call.inputs)), **plain)]
    if op.startswith("upsample") or op.startswith("_upsample"):
        mode = "nearest" if "nearest" in op else "linear"
        return [Layer(name, "resize", *channels, detail=mode, **plain)]
    if op in ("native_layer_norm", "native_group_norm"):
        return [Layer(name, "norm", *channels, detail=op.split("_")[1], **plain)]
    if op in ("_softmax", "_log_softmax"):
        return [Layer(name, "softmax", *channels, **plain)]
    if op in _MATMULS or _ATTENTION in op:
        return _matmul(call, name, op)
    if op in ("clone", "constant_pad_nd", "contiguous", "roll", "pixel_shuffle", "index_select"):
        return [Layer(name, "shuffle", *channels, **plain)] if strided or op != "clone" else []
    return None


def _parametrised(call: Call, module: Any) -> Layer:
    shape, out = call.in_shapes[0], call.out_shapes[0]
    name, sizes = call.step.module, {"in_size": size(shape), "out_size": size(out)}
    if isinstance(module, nn.Linear):
        return Layer(name, "linear", module.in_features, module.out_features, **sizes)
    if call.step.op == "batch_norm":
        return Layer(name, "norm", width(shape), width(out), **sizes)
    geometry: dict[str, Any] = {
        "kernel": _pair(module.kernel_size),
        "stride": _pair(module.stride),
        "padding": _padding(module),
        "dilation": _pair(module.dilation),
    }
    op = "conv2d"
    if isinstance(module, nn.ConvTranspose2d):
        op = "conv_transpose2d"
    elif module.groups > 1 and module.groups == module.in_channels:
        op = "depthwise_conv2d"
    return Layer(
        name,
        op,
        module.in_channels,
        module.out_channels,
        groups=module.groups,
        **geometry,
        **sizes,
    )


def _pool(
    call: Call, name: str, op: str, channels: Pair, plain: dict[str, Pair]
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
        both = {"in_size": (queries, 1), "out_size": (queries, 1)}
        return [
            Layer(f"{name}.qk", "matmul", depth, keys, groups=heads, **both),
            Layer(f"{name}.softmax", "softmax", keys, keys, groups=heads, **both),
            Layer(f"{name}.av", "matmul", keys, values, groups=heads, **both),
        ]
    if len(shapes) < 2:
        return None
    *batch, rows, inner = shapes[-2]
    tokens = {"in_size": (rows, 1), "out_size": (rows, 1)}
    heads = _count(tuple(batch))
    return [Layer(name, "matmul", inner, shapes[-1][-1], groups=heads, **tokens)]


def width(shape: tuple[int, ...]) -> int:
    """Channels of a value: the second dimension of maps, the last of tokens and vectors."""
    return shape[1] if len(shape) == 4 else shape[-1] if shape else 1


def size(shape: tuple[int, ...]) -> Pair:
    """(height, width) of maps; (tokens, 1) of the rest, batch left out."""
    if len(shape) == 4:
        return shape[2], shape[3]
    return _count(shape[1:-1]), 1


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
