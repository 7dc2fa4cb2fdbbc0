"""Operators of a graph as they are written in Python: with signs, as methods, or in full."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import fx

from automl.errors import ModelError

#: The value of a node, or of what an argument names, as text.
Write = Callable[[Any], str]

_SIGNS: Final = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "floordiv": "//",
    "truediv": "/",
    "mod": "%",
}
#: Overloads that Python's signs call.
_OVERLOADS: Final = ("Tensor", "Scalar")
#: Operators that tensors have as methods, with the same arguments in the same order.
_METHODS: Final = frozenset(
    [
        "flatten",
        "transpose",
        "permute",
        "reshape",
        "view",
        "expand",
        "contiguous",
        "mean",
        "sum",
        "chunk",
        "split",
        "unbind",
        "squeeze",
        "unsqueeze",
        "unflatten",
        "softmax",
        "log_softmax",
        "exp",
        "log",
        "sqrt",
        "rsqrt",
        "clamp",
        "abs",
        "amax",
        "amin",
        "repeat",
        "masked_fill",
        "type_as",
        "round",
        "floor",
        "neg",
        "cos",
        "sin",
        "roll",
        "flip",
        "t",
        "narrow",
        "expand_as",
        "movedim",
        "select",
        "clone",
        "square",
        "argmax",
        "cumsum",
        "var",
        "pow",
    ]
)
#: Operators that `torch.nn.functional` has, with the same arguments in the same order.
_FUNCTIONS: Final = frozenset(
    [
        "relu",
        "relu6",
        "silu",
        "gelu",
        "mish",
        "elu",
        "selu",
        "celu",
        "softplus",
        "hardswish",
        "hardsigmoid",
        "leaky_relu",
        "hardtanh",
        "logsigmoid",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "pad",
        "pixel_shuffle",
        "pixel_unshuffle",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "linear",
        "glu",
        "one_hot",
        "scaled_dot_product_attention",
    ]
)
#: Operators that `torch` has, with the same arguments in the same order.
_TORCH: Final = frozenset(
    [
        "cat",
        "stack",
        "matmul",
        "bmm",
        "where",
        "einsum",
        "sigmoid",
        "tanh",
        "maximum",
        "minimum",
        "mm",
        "addmm",
        "baddbmm",
        "outer",
    ]
)
#: Libraries of operators that torch itself brings.
_OWN: Final = ("aten", "prims")
_LAST: Final = 2**63 - 1  # where a slice goes on to the end
_RESIZED: Final = {
    "upsample_nearest1d": "nearest",
    "upsample_nearest2d": "nearest",
    "upsample_nearest3d": "nearest",
    "upsample_linear1d": "linear",
    "upsample_bilinear2d": "bilinear",
    "upsample_bicubic2d": "bicubic",
    "upsample_trilinear3d": "trilinear",
}


def operator_name(node: fx.Node) -> str:
    """An operator's name without overload, of Python's `getitem` too; "" of other nodes."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", None)
    return "" if packet is None else str(packet.__name__)


def expression(node: fx.Node, write: Write, place: str) -> str:
    """A call of a graph as Python.

    Args:
        node: A `call_function` node.
        write: Writes what an argument names.
        place: Of the network, that an error names.

    Raises:
        ModelError: It is no operator of torch's own.
    """
    target: Any = node.target
    if target is operator.getitem:
        return f"{write(node.args[0])}[{written(node.args[1], write)}]"
    if getattr(target, "__module__", "") == "_operator":
        sign = _SIGNS.get(target.__name__)
        if sign is not None:
            return _infix(node.args, sign, write)
    packet = getattr(target, "overloadpacket", None)
    if packet is None:
        raise ModelError(f"{place} cannot be written as source: {_why(target)}")
    if target.namespace not in _OWN:
        raise ModelError(
            f"{place} cannot be written as source: it calls {target.namespace}::{packet.__name__},"
            " which is no operator of torch's own"
        )
    found = _pretty(node, str(packet.__name__), target._overloadname, write)
    if found is not None:
        return found
    given = arguments(node.args, node.kwargs, write)
    return f"torch.ops.{target.namespace}.{packet.__name__}.{target._overloadname}({given})"


def _why(target: Any) -> str:
    name = getattr(target, "__name__", str(target))
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"it holds a graph that runs by itself ({name}), as control flow does"
    return f"it calls {name}, which is no operator"


def _pretty(node: fx.Node, name: str, overload: str, write: Write) -> str | None:
    """A call as people write it; None where it is written in full."""
    args, kwargs = node.args, node.kwargs
    if name in _SIGNS and overload in _OVERLOADS and len(args) == 2 and not kwargs:
        return _infix(args, _SIGNS[name], write)
    if name == "sym_size" and len(args) == 2:
        return f"{write(args[0])}.size({args[1]})"
    if name in ("slice", "select") and not kwargs:
        found = _indexed(name, args, write)
        if found is not None:
            return found
    if name in _RESIZED and overload == "vec":
        return _interpolated(_RESIZED[name], args, write)
    if name == "to" and overload == "dtype" and len(args) == 2 and not kwargs:
        return f"{write(args[0])}.to({written(args[1], write)})"
    if name == "split_with_sizes":
        name = "split"
    plain = name.removesuffix("_")
    if plain in _FUNCTIONS and name.endswith("_"):
        return f"F.{plain}({arguments(args, kwargs, write)}, inplace=True)"
    if plain in _METHODS or (name.endswith("_") and isinstance(args[0], fx.Node)):
        return f"{write(args[0])}.{name}({arguments(args[1:], kwargs, write)})"
    if name in _FUNCTIONS:
        return f"F.{name}({arguments(args, kwargs, write)})"
    if name in _TORCH:
        return f"torch.{name}({arguments(args, kwargs, write)})"
    return None


def _infix(args: Sequence[Any], sign: str, write: Write) -> str:
    return f"{written(args[0], write)} {sign} {written(args[1], write)}"


def _indexed(name: str, args: Sequence[Any], write: Write) -> str | None:
    """A selection in square brackets; None where the dimension is counted from the end."""
    dim = args[1] if len(args) > 1 else 0
    if not isinstance(dim, int) or not 0 <= dim <= 3:
        return None
    if name == "select":
        inside = written(args[2], write)
    else:
        given = [*args[2:], *[None, None, 1][len(args) - 2 :]]
        start, end, step = given[0], given[1], given[2]
        ends = [
            "" if start in (None, 0) else written(start, write),
            "" if end in (None, _LAST) else written(end, write),
        ]
        inside = ":".join(ends if step == 1 else [*ends, written(step, write)])
    return f"{write(args[0])}[{', '.join([':'] * dim + [inside])}]"


def _interpolated(mode: str, args: Sequence[Any], write: Write) -> str:
    value, size, *rest = args
    factors = rest[-1] if rest else None
    given = [write(value)]
    if size is not None:
        given.append(f"size={written(size, write)}")
    elif factors is not None:
        given.append(f"scale_factor={written(factors, write)}")
    given.append(f"mode={mode!r}".replace("'", '"'))
    if mode != "nearest":
        given.append(f"align_corners={rest[0]}")
    if size is None and mode != "nearest":
        given.append("recompute_scale_factor=False")
    return f"F.interpolate({', '.join(given)})"


def arguments(args: Any, kwargs: Mapping[str, Any], write: Write) -> str:
    """What a call is given, between its brackets."""
    given = [written(each, write) for each in args]
    named = [f"{key}={written(each, write)}" for key, each in kwargs.items() if key != "pin_memory"]
    return ", ".join([*given, *named])


def written(value: Any, write: Write) -> str:
    """An argument as Python: of a node what `write` gives, else a literal.

    Raises:
        ModelError: It has no literal.
    """
    if isinstance(value, fx.Node):
        return write(value)
    if isinstance(value, list | tuple):
        inside = ", ".join(written(each, write) for each in value)
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, slice):
        return repr(value)
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return str(value)
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, float):
        return repr(value) if abs(value) < float("inf") else f'float("{value}")'
    if value is None or isinstance(value, bool | int | complex):
        return repr(value)
    raise ModelError(
        f"the network cannot be written as source: it is given a {type(value).__name__}, which has"
        " no literal"
    )


def literal(text: str) -> str:
    """A string as Python, in double quotes where it holds none."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown else shown
