"""Rectifications of what is rectified already, as a layer that was left out leaves behind."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

_RECTIFIERS = ("Relu", "Clip")


def without_repeats(content: bytes) -> bytes:
    """The same ONNX model without rectifications that follow the same one: they change nothing."""
    model = onnx.load_from_string(content)
    constants = _ends(model.graph)
    makers = {name: node for node in model.graph.node for name in node.output}
    given = {value.name for value in model.graph.output}

    def what(node: onnx.NodeProto) -> tuple[object, ...]:
        return node.op_type, *(constants.get(name, name) for name in node.input[1:])

    renamed: dict[str, str] = {}
    for node in list(model.graph.node):
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        before = makers.get(node.input[0]) if node.op_type in _RECTIFIERS else None
        if before is not None and what(before) == what(node) and node.output[0] not in given:
            renamed[node.output[0]] = node.input[0]
            model.graph.node.remove(node)
    return model.SerializeToString() if renamed else content


def _ends(graph: onnx.GraphProto) -> dict[str, object]:
    """Values of the constants that rectifiers clip at.

    Not of weights: a number of a list takes eight times its bytes.
    """
    read = {name for node in graph.node if node.op_type in _RECTIFIERS for name in node.input[1:]}
    tensors = {each.name: each for each in graph.initializer if each.name in read}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors |= {name: node.attribute[0].t for name in node.output if name in read}
    return {name: numpy_helper.to_array(each).tolist() for name, each in tensors.items()}
