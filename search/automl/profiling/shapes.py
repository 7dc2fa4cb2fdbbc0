"""Shapes of the values in an ONNX model, found without its weights."""

from __future__ import annotations

import math
from typing import Final

import onnx

#: Numbers of a constant from which on it counts as weights: shapes do not depend on these.
_LARGE: Final = 1024


def with_shapes(model: onnx.ModelProto) -> onnx.GraphProto:
    """The model's graph with the shapes of its values, large constants without their numbers.

    onnx copies a model several times to infer them.
    """
    bare = onnx.ModelProto()
    graph, bare.ir_version = model.graph, model.ir_version
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    bare.graph.node.extend(graph.node)
    bare.graph.input.extend(graph.input)
    bare.graph.output.extend(graph.output)
    bare.graph.value_info.extend(graph.value_info)
    for tensor in graph.initializer:
        if math.prod(tensor.dims) < _LARGE:
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.initializer.add(
                name=tensor.name, dims=tensor.dims, data_type=tensor.data_type
            )
    found: onnx.GraphProto = onnx.shape_inference.infer_shapes(bare).graph
    return found
