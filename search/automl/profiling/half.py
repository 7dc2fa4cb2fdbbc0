"""A float ONNX model with fp16 tensors, as strongly typed runtimes want it."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

#: Inputs that ONNX wants in float whatever the data's type is, by operator and position.
_FLOAT_INPUTS: Final = {"Resize": (1, 2), "Upsample": (1,), "QuantizeLinear": (1,)}


def half_model(content: bytes) -> bytes:
    """The model with its inputs, outputs, weights and what is computed in fp16.

    Weights beyond the range of fp16 are clipped to it. Made for measuring: accuracy is not looked
    after.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    kept = {
        node.input[place]
        for node in graph.node
        for place in _FLOAT_INPUTS.get(node.op_type, ())
        if place < len(node.input)
    }
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in kept:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in kept:
            continue
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _halve(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to":
                attribute.i = TensorProto.FLOAT16 if attribute.i == 1 else attribute.i
    result: bytes = model.SerializeToString()
    return result


def _halve(tensor: TensorProto) -> None:
    if tensor.data_type != TensorProto.FLOAT:
        return
    most = float(np.finfo(np.float16).max)
    values = np.clip(numpy_helper.to_array(tensor), -most, most).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
