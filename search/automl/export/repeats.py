"""Rectifications of what is rectified already, as a layer that was left out leaves behind."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

_RECTIFIERS = ("Relu", "Clip")


def without_repeats(content: bytes) -> bytes:
    """The same ONNX model without rectifications that follow the same one: they change nothing."""
    model = onnx.load_from_string(content)
    constants = {
        each.name: numpy_helper.to_array(each).tolist() for each in model.graph.initializer
    }
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t).tolist()
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
