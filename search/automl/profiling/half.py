"""A float ONNX model with fp16 tensors, as strongly typed runtimes want it."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from automl.profiling.qdq import MOVES

#: Inputs that ONNX wants in float whatever the data's type is, by operator and position.
_FLOAT_INPUTS: Final = {"Resize": (1, 2), "Upsample": (1,)}


#: Operators that belong to the integer part where all that they read does.
_FOLLOW: Final = (
    *("Relu", "Clip", "Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("ReduceMean", "Resize", *MOVES),
)
_WEIGHTED: Final = ("Conv", "Gemm", "MatMul")


def half_model(content: bytes) -> bytes:
    """The model with its inputs, outputs, weights and what is computed in fp16.

    What stands between DequantizeLinear and QuantizeLinear keeps 32-bit types, for scales of
    weights are below what fp16 holds; runtimes compute it on integers anyway. Values that cross
    over are cast, and outputs that are written there stay fp32. Weights beyond the range of fp16
    are clipped to it.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    exact = _integer_part(graph)
    kept = {
        node.input[place]
        for node in graph.node
        for place in _FLOAT_INPUTS.get(node.op_type, ())
        if place < len(node.input)
    }
    kept |= {name for node in graph.node if node.output[0] in exact for name in node.input}
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in exact:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve(tensor)
    for node in graph.node:
        if node.output[0] in exact | kept:
            continue
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _halve(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to":
                attribute.i = TensorProto.FLOAT16 if attribute.i == 1 else attribute.i
    _cast(graph, exact, kept)
    result: bytes = model.SerializeToString()
    return result


def _integer_part(graph: onnx.GraphProto) -> set[str]:
    """First outputs of the nodes that keep 32-bit floats or integers."""
    weights = {tensor.name for tensor in graph.initializer}
    exact: set[str] = set()
    for node in graph.node:
        read = [name for name in node.input if name and name not in weights]
        follows = node.op_type in _FOLLOW and read and exact.issuperset(read)
        integer = node.op_type in _WEIGHTED and len(read) > 1 and exact.issuperset(read)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") or follows or integer:
            exact.add(node.output[0])
    return exact


def _cast(graph: onnx.GraphProto, exact: set[str], kept: set[str]) -> None:
    """Casts where a node of one part reads a value of the other."""
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    single = exact | {name for name in kept if stored.get(name) == TensorProto.FLOAT}
    nodes: list[onnx.NodeProto] = []
    made: set[str] = set()
    for node in graph.node:
        inside = node.output[0] in exact
        for place, name in enumerate(node.input):
            known = stored.get(name, TensorProto.FLOAT) != TensorProto.FLOAT
            if not name or known or place in _FLOAT_INPUTS.get(node.op_type, ()):
                continue
            if (name in single) == inside:
                continue
            cast = f"{name}/{'fp32' if inside else 'fp16'}"
            if cast not in made:
                made.add(cast)
                kind = TensorProto.FLOAT if inside else TensorProto.FLOAT16
                nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=kind))
            node.input[place] = cast
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _halve(tensor: TensorProto) -> None:
    if tensor.data_type != TensorProto.FLOAT:
        return
    most = float(np.finfo(np.float16).max)
    values = np.clip(numpy_helper.to_array(tensor), -most, most).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
