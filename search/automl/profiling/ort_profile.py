"""Profiles that ONNX Runtime writes (`SessionOptions.enable_profiling`)."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, FailFast, Field, ValidationError

from automl.documents import fault_of
from automl.errors import UsageError
from automl.profiling.nodes import MOST_MS, ONNX_OPS, Profile, ProfiledNode, Shape, size_of

_KERNEL: Final = "_kernel_time"
#: Ends of names of nodes in the blocked layout NCHWc, where channels are rounded up to the block
#: (8 or 16 by processor), and of batch norms that were turned into convolutions for it.
_BLOCKED: Final = "_nchwc"
_NORM: Final = "_bn_nchwc"
_BLOCKS: Final = (8, 16)
_LAYOUT: Final = ("ReorderInput", "ReorderOutput", "Transpose", "Cast")
_TYPES: Final = {"float": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8"}
#: ONNX operators and what they are priced as; a convolution's groups come from its shape.
_OPS: Final = ONNX_OPS | {
    "FusedConv": "conv2d",
    "NhwcFusedConv": "conv2d",
    "QLinearConv": "conv2d",
    "FusedGemm": "linear",
    "MatMul": "linear",
    "FusedMatMul": "linear",
    "BatchNormalization": "norm",
    "LayerNormalization": "norm",
}
_FUNCTIONS: Final = ("Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu", "Mish", "Softplus")


_Size = Annotated[int, Field(ge=-(1 << 40), le=1 << 40)]
_Shapes = Annotated[list[dict[str, list[_Size]]], FailFast()]


class _Arguments(BaseModel):
    op_name: str = ""
    input_type_shape: _Shapes = []
    output_type_shape: _Shapes = []


class _Event(BaseModel):
    cat: str
    name: str
    dur: float = Field(ge=0, le=1e3 * MOST_MS)
    args: _Arguments = _Arguments()


def is_ort(found: Any) -> bool:
    """Whether JSON that was read is such a profile."""
    first = found[0] if isinstance(found, list) and found else None
    return isinstance(first, dict) and {"cat", "dur", "name"} <= first.keys()


def read_ort(found: Any, path: Path) -> Profile:
    """The profile's nodes, each the median of its runs; ONNX Runtime counts whole microseconds.

    The first run of a node is left out where there are others: it touches memory for the first
    time.

    Raises:
        UsageError: Fields are missing, or the run was of another batch than 1.
    """
    first: dict[str, _Arguments] = {}
    times: dict[str, list[float]] = defaultdict(list)
    for number, each in enumerate(found):
        try:
            event = _Event.model_validate(each)
        except ValidationError as error:
            raise UsageError(f"{path}: {number}.{fault_of(error)}") from None
        if event.cat == "Node" and event.name.endswith(_KERNEL):
            name = event.name.removesuffix(_KERNEL)
            first.setdefault(name, event.args)
            times[name].append(event.dur)
    nodes = (_node(name, arguments, times[name], path) for name, arguments in first.items())
    return Profile("onnxruntime", tuple(nodes))


def _node(name: str, arguments: _Arguments, times: list[float], path: Path) -> ProfiledNode:
    reads = [(kind, shape) for read in arguments.input_type_shape for kind, shape in read.items()]
    writes = [shape for written in arguments.output_type_shape for shape in written.values()]
    maps = [shape[0] for _, shape in reads[:1] if len(shape) == 4]
    if maps and maps[0] != 1:
        raise UsageError(f"{path}: node {name!r} ran at batch {maps[0]}; tables hold batch 1")
    op = _operator(arguments.op_name, [shape for _, shape in reads])
    if name.endswith(_NORM):
        op = "norm"
    shape = _shape(op, arguments.op_name, [shape for _, shape in reads], writes)
    if shape is not None and name.endswith(_BLOCKED):
        shape = replace(shape, blocks=_BLOCKS)
    times = times[1:] or times
    return ProfiledNode(
        name,
        statistics.median(times) / 1e6,
        len(times),
        ((name,),),
        "layout change" if arguments.op_name in _LAYOUT else "",
        op,
        shape,
        frozenset(("add",) if _has_residual(arguments.op_name, reads, writes) else ()),
        _TYPES.get(reads[0][0], "") if reads else "",
    )


def _has_residual(
    op_name: str, reads: list[tuple[str, list[int]]], writes: list[list[int]]
) -> bool:
    """A convolution whose fourth input is a map like its output adds that to it."""
    return "Conv" in op_name and len(reads) == 4 and reads[3][1] == (writes or [[]])[0]


def _operator(op_name: str, reads: list[list[int]]) -> str:
    if op_name in _FUNCTIONS:
        return "activation"
    op = _OPS.get(op_name, "")
    if op == "linear" and len(reads) == 2 and len(reads[1]) > 2:
        return "matmul"
    return op


def _shape(op: str, op_name: str, reads: list[list[int]], writes: list[list[int]]) -> Shape | None:
    if not op or not reads or not writes or len(reads[0]) > 4 or op == "matmul":
        return None
    in_channels, in_size = size_of(reads[0])
    out_channels, out_size = size_of(writes[0])
    if op == "concat":
        in_channels = out_channels
    kernel, groups = None, 0
    if op == "conv2d" and len(reads) > 1 and len(reads[1]) == 4:
        kernel = (reads[1][2], reads[1][3])
        groups = max(in_channels // max(reads[1][1], 1), 1)
    detail = re.sub("[^a-z]", "", op_name.lower()) if op == "activation" else ""
    if op in ("add", "mul") and len(reads) > 1 and reads[1] != reads[0]:
        detail = "channel"
    return Shape(
        op, in_channels, out_channels, in_size, out_size, kernel, groups=groups, detail=detail
    )
