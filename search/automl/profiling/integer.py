"""A float ONNX model quantised in a target's scheme, with QParams of no meaning: for measuring.

What is timed this way runs between rounded values, as it does inside a quantised network.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from automl.profiling.qdq import (
    Pairs,
    ValueQParams,
    WeightQParams,
    integers_through,
    readers,
    with_integer_rectifiers,
    with_pairs,
)
from automl.profiling.shapes import with_shapes

#: Schemes in which models are quantised. Activations come first: unsigned with a zero point ("u8")
#: or signed and symmetric ("s8"). Weights are signed bytes, or of 7 bits in signed bytes ("s7"), so
#: that two products fit into 16 bits, or the numbers of signed bytes in unsigned ones ("u8"), which
#: ONNX Runtime has exact kernels for on any processor. With "residual" a convolution's output goes
#: into the addition that ends its block unrounded. With "tensor" the weights of a layer have one
#: scale, for accelerators that know no more; else each output channel has one.
SCHEMES: Final = (
    "qdq-u8s8",
    "qdq-u8s7",
    "qdq-u8u8",
    "qdq-u8s8-tensor",
    "qdq-s8s8",
    "qdq-s8s8-tensor",
    "qdq-s8s8-residual",
)
#: Operators of a table that integer kernels exist for, a resize only where it is to the nearest.
#: All others run in float between conversions.
INTEGER_OPERATORS: Final = (
    "conv2d",
    "depthwise_conv2d",
    "linear",
    "max_pool",
    "avg_pool",
    "global_avg_pool",
    "add",
    "concat",
    "resize",
    "convert",
)

_WEIGHTED: Final = ("Conv", "Gemm", "MatMul")
#: Operators whose outputs are among their inputs: the QParams stay, and so do the integers.
_KEEPS: Final = ("MaxPool", "Resize")
#: Operators that take several maps, all in one layout.
_MIXES: Final = ("Add", "Concat")
_SCALE: Final = 2.0**-5  # holds random values of deviation one


def has_integer_kernel(op: str, detail: str = "", dimensions: int = 2) -> bool:
    """Whether an operator of a table can run on integers, on maps of so many dimensions."""
    if dimensions > 2:
        return False
    if op == "resize":
        return detail in ("", "nearest")
    return op in INTEGER_OPERATORS and not (op == "add" and detail)


def is_unsigned(scheme: str) -> bool:
    """Whether activations are unsigned, with a zero point."""
    return scheme.startswith("qdq-u8")


def placed(model: onnx.ModelProto, pairs: Pairs, scheme: str) -> onnx.ModelProto:
    """The model with the pairs as the scheme's runtime wants them.

    For ONNX Runtime biases are integers, and what only moves or clips numbers runs on integers.
    """
    if scheme.endswith("residual"):
        return with_pairs(model, pairs, integer_bias=False)
    anchored = replace(pairs, anchored=_anchored(model, pairs))
    result = with_pairs(model, anchored, integer_bias=True, unsigned_weights=scheme.endswith("u8"))
    return with_integer_rectifiers(integers_through(result))


def _anchored(model: onnx.ModelProto, pairs: Pairs) -> dict[str, tuple[int, ...]]:
    """Shapes of the maps that additions and concatenations take in rounded."""
    graph = with_shapes(model)
    shapes = {
        value.name: tuple(extent.dim_value for extent in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info)
    }
    return {
        data: shapes[data]
        for node in model.graph.node
        for position, data in enumerate(node.input)
        if node.op_type in _MIXES and (node.output[0], position) in pairs.inputs
        if len(shapes.get(data, ())) == 4
    }


def integer_model(content: bytes, scheme: str, floats: Collection[str] = ()) -> bytes:
    """A float model with everything rounded but what some nodes compute.

    Args:
        content: The float model, of operators that have integer kernels and of ReLUs.
        scheme: One of `SCHEMES`.
        floats: First outputs of the nodes that stay float.
    """
    model = onnx.load_from_string(content)
    pairs = _Everything(model, scheme, floats).pairs()
    result: bytes = placed(model, pairs, scheme).SerializeToString()
    return result


class _Everything:
    """Pairs around all that is not said to stay float."""

    def __init__(self, model: onnx.ModelProto, scheme: str, floats: Collection[str]) -> None:
        self._nodes = list(model.graph.node)
        self._floats = set(floats)
        self._unsigned, self._residual = is_unsigned(scheme), scheme.endswith("residual")
        self._shared = scheme.endswith("tensor")
        self._constants = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self._outputs = {value.name for value in model.graph.output}
        self._readers = readers(self._nodes)
        self._qparams: dict[str, ValueQParams] = {}

    def pairs(self) -> Pairs:
        outputs: dict[str, ValueQParams] = {}
        inputs: dict[tuple[str, int], ValueQParams] = {}
        weights: dict[str, WeightQParams] = {}
        unsettled: set[str] = set()
        for node in self._nodes:
            name = node.output[0]
            if name in self._floats:
                continue
            for position, data in enumerate(node.input):
                if data and data not in self._constants and data not in unsettled:
                    inputs[name, position] = self._qparams_of(data)
            if node.op_type in _KEEPS:
                self._qparams[name] = self._qparams_of(node.input[0])
            if node.op_type in _WEIGHTED:
                constants = self._constants[node.input[1]]
                read = inputs[name, 0].scale
                weights[name] = _weight_qparams(constants, weight_axis(node), read, self._shared)
            if self._settles(node):
                outputs[name] = self._qparams_of(name, node.op_type == "Relu")
            else:
                unsettled.add(name)
        return Pairs(outputs, inputs, weights)

    def _settles(self, node: onnx.NodeProto) -> bool:
        """Whether the output is rounded: not where what takes it in is fused with the node."""
        after = self._readers.get(node.output[0], [])
        if len(after) != 1 or node.output[0] in self._outputs | self._floats:
            return True
        if after[0].output[0] in self._floats:
            return True
        if node.op_type == "MatMul" and after[0].op_type == "Add":  # its bias
            return not any(name in self._constants for name in after[0].input)
        if self._residual and node.op_type == "Conv" and after[0].op_type == "Add":
            return list(after[0].input).index(node.output[0]) != 0
        return after[0].op_type != "Relu"

    def _qparams_of(self, value: str, positive: bool = False) -> ValueQParams:
        """Of a scale that no other value has, so that nothing is taken for the same."""
        if value not in self._qparams:
            scale = float(np.float32(_SCALE * (1.0 + 1e-3 * len(self._qparams))))
            zero = 128 if self._unsigned and not positive else 0
            self._qparams[value] = ValueQParams(scale, zero, not self._unsigned)
        return self._qparams[value]


def _weight_qparams(
    weights: NDArray[np.float32], axis: int, input_scale: float, shared: bool
) -> WeightQParams:
    """Weights rounded to nearest, the largest of each output channel, or of all, at 127."""
    others = tuple(dim for dim in range(weights.ndim) if shared or dim != axis)
    scales = np.maximum(np.abs(weights).max(others, keepdims=True) / 127, 1e-12)
    integers = np.rint(weights / scales).astype(np.int8)
    scales = scales.astype(np.float32).reshape(() if shared else -1)
    return WeightQParams(integers, scales, axis, input_scale)


def weight_axis(node: onnx.NodeProto) -> int:
    """Where a node's weight has its output channels."""
    turned = any(each.name == "transB" and each.i for each in node.attribute)
    return 0 if node.op_type == "Conv" or turned else 1
