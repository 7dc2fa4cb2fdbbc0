"""From recorded operations to priced layers: what each costs to run, and what is free."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from torch import nn

from automl.network.by_work import bags, bilinear, by_work, recurrent
from automl.network.channel_dims import Dims
from automl.network.labels import names
from automl.network.layers import RECURRENT, Extent, Layer
from automl.network.norms import NORMS, norm_channels
from automl.network.recorded import Call

_RELUS = names("relu hardtanh clamp clamp_min threshold")
_FUSES_RELU = names("conv conv_transpose linear add batch_norm")
_FOLDS_NORM = names("conv conv_transpose linear convolution")
_ACTIVATIONS = names(
    "sigmoid silu gelu hardswish hardsigmoid tanh elu leaky_relu mish softplus exp sqrt pow rsqrt "
    "prelu log_sigmoid erf relu hardtanh clamp clamp_min threshold"
)
_ELEMENTWISE = (_ACTIVATIONS | names("add sub rsub mul div clone alias detach dropout neg")) - {
    "prelu"
}
_ARITHMETIC = {"add": "add", "sub": "add", "rsub": "add", "mul": "mul", "div": "mul"}
_POOLS = {
    "max_pool2d_with_indices": "max_pool",
    "max_pool3d_with_indices": "max_pool",
    "avg_pool2d": "avg_pool",
    "avg_pool3d": "avg_pool",
    "_adaptive_avg_pool2d": "avg_pool",
    "_adaptive_avg_pool3d": "avg_pool",
    "adaptive_max_pool2d": "max_pool",
    "adaptive_max_pool3d": "max_pool",
}
_NORMS = {
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_fused_rms_norm": "layer_norm",
}
_MATMULS = names("mm bmm matmul addmm baddbmm addbmm mv addmv dot vdot")
_COPIES = names(
    "clone copy constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d "
    "replication_pad2d reflection_pad3d replication_pad3d roll flip repeat pixel_shuffle "
    "pixel_unshuffle stack im2col col2im tril triu"
)
_ATTENTION = "scaled_dot_product"
_FREE = names(
    "view _unsafe_view reshape permute transpose t expand split split_with_sizes slice select "
    "squeeze unsqueeze detach alias unbind chunk as_strided _to_copy lift_fresh empty dropout "
    "native_dropout flatten unsafe_split unfold diagonal _reshape_alias view_as_real "
    "view_as_complex movedim swapaxes unflatten"
)


def base_name(op: str) -> str:
    """The operator's name without the mark of in-place variants."""
    return op.rstrip("_")


def is_free(call: Call, producer: Call | None) -> bool:
    """True where an operation costs nothing: views, and what fuses into its producer."""
    name = base_name(call.step.op)
    if name == "batch_norm":  # what cannot be folded in torch is folded by the runtime
        return producer is not None and producer.step.op in _FOLDS_NORM
    if name in _RELUS:
        if producer is None:
            return False
        again = (name, call.arguments[1:]) == (base_name(producer.step.op), producer.arguments[1:])
        return again or base_name(producer.step.op) in _FUSES_RELU
    if name in _ARITHMETIC:  # by a number: folded into a neighbour
        return sum(len(shape) > 0 for shape in call.operands) < 2
    return name in _FREE or not call.outputs


def is_rectifier(call: Call) -> bool:
    """Whether an operation leaves alone what it wrote itself, and fuses with what is before it."""
    return base_name(call.step.op) in _RELUS


def is_elementwise(call: Call) -> bool:
    """Whether an operation makes of each number of a value another, by no weights."""
    whole = call.out_shapes[:1]
    shapes = {*call.in_shapes, *(shape for shape in call.operands if shape), *whole}
    known = base_name(call.step.op) in _ELEMENTWISE and not call.step.module
    return known and not call.weights and len(whole) == 1 and len(shapes) == 1


def layers_of(
    call: Call, modules: Mapping[str, nn.Module], name: str, strided: bool = False
) -> list[Layer]:
    """The priced layers of one operation at batch 1, [] where free.

    `strided` is True where the input is a view whose data lie elsewhere: copying it costs.
    """
    op = base_name(call.step.op)
    if op in RECURRENT and call.step.module:
        return recurrent(call, modules[call.step.module])
    if call.step.module and op != "prelu":
        return [_parametrised(call, modules[call.step.module])]
    if op in _MATMULS or _ATTENTION in op:
        return _matmul(call, name, op)
    special = {"_embedding_bag": bags, "_trilinear": bilinear}.get(op)
    if special is not None:
        return [special(call, name)]
    if op == "convolution":
        return [_convolution(call, name)]
    if op in _POOLS:
        return [_pool(call, name, op)]
    if op == "clone" and not strided:
        return []
    return [_on_numbers(call, name, op)]


def _on_numbers(call: Call, name: str, op: str) -> Layer:
    """An operator that multiplies no matrices and has no window."""
    if op in _ARITHMETIC:
        return _arithmetic(call, name, op)
    shape = call.in_shapes[0]
    read, in_size = extent(shape, call.in_dims)
    written, out_size = extent(call.out_shapes[0], call.out_dims)
    plain: dict[str, Any] = {"in_size": in_size, "out_size": out_size}
    if op in _ACTIVATIONS:
        return Layer(name, "activation", read, written, detail=op, **plain)
    if op == "mean":
        return Layer(name, "global_avg_pool", read, written, **plain)
    if op == "cat":
        return Layer(name, "concat", written, written, detail=str(len(call.operands)), **plain)
    if "upsample" in op:
        return _resize(call, name, "nearest" if "nearest" in op else "linear")
    if op in _NORMS:
        return _norm(name, _NORMS[op], shape, read if op == "native_group_norm" else shape[-1])
    if "batch_norm" in op:
        return Layer(name, "norm", read, written, **plain)
    if op in ("_softmax", "_log_softmax", "_safe_softmax"):
        over = shape[call.arguments[1]]
        return Layer(
            name, "softmax", over, over, in_size=places(shape, over), out_size=places(shape, over)
        )
    if op in _COPIES:
        return Layer(name, "shuffle", read, written, **plain)
    return by_work(call, op, Layer(name, "elementwise", read, written, **plain))


def _arithmetic(call: Call, name: str, op: str) -> Layer:
    whole, around = extent(call.out_shapes[0], call.out_dims)
    spread = any(prod(shape) < prod(call.out_shapes[0]) for shape in call.operands)
    detail = "channel" if spread else ""
    return Layer(
        name, _ARITHMETIC[op], whole, whole, in_size=around, out_size=around, detail=detail
    )


def _parametrised(call: Call, module: Any) -> Layer:
    shape, out = call.in_shapes[0], call.out_shapes[0]
    name = call.step.module
    if isinstance(module, nn.Linear):
        tokens: dict[str, Any] = {
            "in_size": places(shape, shape[-1]),
            "out_size": places(out, out[-1]),
        }
        return Layer(name, "linear", module.in_features, module.out_features, **tokens)
    if call.step.op == "batch_norm":
        read, in_size = extent(shape, (1,))
        return Layer(name, "norm", read, read, in_size=in_size, out_size=in_size)
    if call.step.op in NORMS:
        return _norm(name, call.step.op, shape, norm_channels(module))
    return _geometric(
        call,
        name,
        module.kernel_size,
        _padding(module),
        (module.stride, module.dilation),
        module.groups,
        transposed=call.step.op == "conv_transpose",
    )


def _norm(name: str, kind: str, shape: tuple[int, ...], channels: int) -> Layer:
    whole, detail = places(shape, channels), kind.removesuffix("_norm")
    return Layer(name, "norm", channels, channels, in_size=whole, out_size=whole, detail=detail)


def _convolution(call: Call, name: str) -> Layer:
    """A convolution with weights of no layer, priced by its shapes."""
    stride, padding, dilation, transposed, _, groups = call.arguments[3:9]
    kernel = call.operands[1][2:]
    return _geometric(
        call, name, kernel, padding, (stride, dilation), groups, transposed=bool(transposed)
    )


def _geometric(
    call: Call,
    name: str,
    kernel: Any,
    padding: Any,
    steps: tuple[Any, Any],
    groups: int,
    *,
    transposed: bool,
) -> Layer:
    """A convolution: `steps` are its stride and its dilation."""
    dims = len(kernel)
    read, written, in_size, out_size, batch = _sides(call, dims)
    flat = "3d" if dims == 3 else "2d"
    op = f"conv_transpose{flat}" if transposed else f"conv{flat}"
    if groups == read > 1 and not transposed:
        op = f"depthwise_{op}"
    return Layer(
        name,
        op,
        read,
        written,
        _each(kernel, dims, 1),
        _each(steps[0], dims, 1),
        _each(padding, dims, 0),
        _each(steps[1], dims, 1),
        groups,
        in_size,
        out_size,
        batch=batch,
    )


def _sides(call: Call, dims: int) -> tuple[int, int, Extent, Extent, int]:
    """Channels and sizes of the maps that go in and come out, and how many there are of them."""
    read, out = call.in_shapes[0], call.out_shapes[0]
    batch = prod(read[: -dims - 1])
    flat = (1,) * (dims == 1)
    return (
        read[-dims - 1],
        out[-dims - 1],
        (*read[-dims:], *flat),
        (*out[-dims:], *flat),
        batch,
    )


def _resize(call: Call, name: str, mode: str) -> Layer:
    read, written, in_size, out_size, batch = _sides(call, len(call.in_shapes[0]) - 2)
    return Layer(
        name, "resize", read, written, in_size=in_size, out_size=out_size, detail=mode, batch=batch
    )


def _pool(call: Call, name: str, op: str) -> Layer:
    dims = 3 if "3d" in op else 2
    read, written, in_size, out_size, batch = _sides(call, dims)
    sizes: dict[str, Any] = {"in_size": in_size, "out_size": out_size, "batch": batch}
    if "adaptive" in op:
        if max(out_size) == 1:
            kind = "reduce" if _POOLS[op] == "max_pool" else "global_avg_pool"
            detail = "amax" if kind == "reduce" else ""
            return Layer(name, kind, read, written, detail=detail, **sizes)
        step = tuple(max(1, a // b) for a, b in zip(in_size, out_size, strict=True))
        return Layer(name, _POOLS[op], read, written, step, step, (0,) * dims, **sizes)
    arguments = list(call.arguments[1:])
    kernel = _each(arguments[0], dims, 1)
    stride = _each(arguments[1], dims, 1) if len(arguments) > 1 and arguments[1] else kernel
    padding = _each(arguments[2], dims, 0) if len(arguments) > 2 else (0,) * dims
    return Layer(name, _POOLS[op], read, written, kernel, stride, padding, **sizes)


def _matmul(call: Call, name: str, op: str) -> list[Layer]:
    if _ATTENTION in op:
        shapes = [shape for shape in call.operands if len(shape) >= 2]
        *batch, queries, depth = shapes[0]
        keys, values = shapes[1][-2], shapes[2][-1]
        heads = prod(batch)
        both: dict[str, Any] = {"in_size": (queries, 1), "out_size": (queries, 1)}
        return [
            Layer(f"{name}.qk", "matmul", depth, keys, groups=heads, **both),
            Layer(f"{name}.softmax", "softmax", keys, keys, groups=heads, **both),
            Layer(f"{name}.av", "matmul", keys, values, groups=heads, **both),
        ]
    read, other = call.operands[-2:]
    rows, inner = ((1, *read) if len(read) == 1 else read)[-2:]
    written = 1 if len(other) == 1 else other[-1]
    tokens: dict[str, Any] = {"in_size": (rows, 1), "out_size": (rows, 1)}
    if len(call.inputs) == 1:  # by weights that belong to no layer
        whole = places(read, inner)
        return [Layer(name, "linear", inner, written, in_size=whole, out_size=whole)]
    return [Layer(name, "matmul", inner, written, groups=prod(read[:-2]), **tokens)]


def extent(shape: tuple[int, ...], dims: Dims) -> tuple[int, Extent]:
    """Channels of a value that lie along some of its dimensions, and (height, width) of the rest.

    Tokens and vectors are (tokens, 1). Several maps lie beneath each other, so that all numbers of
    the value are counted.
    """
    channels = prod(shape[dim] for dim in dims)
    others = [each for dim, each in enumerate(shape) if dim not in dims]
    if len(shape) > 3 and len(others) > 1:
        return channels, (prod(others[:-1]), others[-1])
    return channels, (prod(others), 1)


def places(shape: tuple[int, ...], channels: int) -> tuple[int, int]:
    """(tokens, 1): how many vectors of `channels` a value of batch 1 holds."""
    return max(1, prod(shape) // max(1, channels)), 1


def _each(value: Any, dims: int, beside: int) -> Extent:
    """One number per dimension; `beside` along the width of maps of one dimension."""
    numbers = (value,) if isinstance(value, int) else tuple(value)
    numbers = numbers * dims if len(numbers) == 1 else numbers
    return (numbers[0], beside) if dims == 1 else numbers


def _padding(module: Any) -> Any:
    if not isinstance(module.padding, str):
        return module.padding
    if module.padding == "valid":
        return (0,) * len(module.kernel_size)
    pairs = zip(module.dilation, module.kernel_size, strict=True)
    return tuple(dilation * (kernel - 1) // 2 for dilation, kernel in pairs)
