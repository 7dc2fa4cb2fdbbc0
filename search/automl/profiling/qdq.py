"""QuantizeLinear and DequantizeLinear pairs put into a float ONNX model.

The caller says which values are rounded, and with which QParams. Nodes are named by their first
output. Integer kernels are the runtime's choice; what it fuses decides how pairs are placed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

#: Operators that move numbers and change none; on integers they cost a quarter of the traffic.
MOVES: Final = ("Slice", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Pad")
_INT32: Final = 2**31 - 1

IntegerEnds = tuple[np.integer[Any], np.integer[Any]]


@dataclass(frozen=True, slots=True)
class ValueQParams:
    """What integers of a value stand for: (integer - zero_point) * scale.

    Attributes:
        scale: Positive float32.
        zero_point: The integer of 0.
        signed: int8, or else uint8.
        ends: Least and largest integer where they are not the type's, as of fewer than 8 bits.
    """

    scale: float
    zero_point: int = 0
    signed: bool = True
    ends: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class WeightQParams:
    """Integer weights, symmetric: each times the scale of its output channel, or of them all.

    Attributes:
        integers: int8, laid out as the node's weight.
        scales: float32, one per output channel: [channels]; where they share one: [].
        axis: Where the output channels lie: 0 of convolutions and Gemm, 1 of MatMul.
        input_scale: Of the value that the layer reads.
    """

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int
    input_scale: float


@dataclass(frozen=True, slots=True)
class Pairs:
    """Where pairs go. Nodes are named by their first output.

    Attributes:
        outputs: Values that are rounded for every node that takes them.
        inputs: Per node and position of an input: the QParams with which that node alone takes it.
        weights: Per node with integer weights, which are its second input.
        anchored: Shapes of maps read rounded whose integers are laid out with the channels last, as
            those of ONNX Runtime's integer convolutions are. Otherwise an addition of such a
            value and a convolution, and every addition that follows, is transposed forth and back.
    """

    outputs: Mapping[str, ValueQParams] = field(default_factory=dict)
    inputs: Mapping[tuple[str, int], ValueQParams] = field(default_factory=dict)
    weights: Mapping[str, WeightQParams] = field(default_factory=dict)
    anchored: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def with_pairs(
    model: onnx.ModelProto, pairs: Pairs, *, integer_bias: bool, unsigned_weights: bool = False
) -> onnx.ModelProto:
    """The model with the pairs, integer weights stored as int8; the model itself stays as it is.

    Args:
        model: A float model, its nodes in an order in which they can run.
        pairs: Where to.
        integer_bias: Store biases of integer layers as int32 of the scale in which their kernels
            accumulate, which ONNX Runtime wants; TensorRT wants them float.
        unsigned_weights: Store weights as uint8 with the zero point 128: the same numbers.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    writer = _Writer(result.graph, pairs, integer_bias, unsigned_weights)
    writer.run()
    return result


class _Writer:
    def __init__(
        self, graph: onnx.GraphProto, pairs: Pairs, integer_bias: bool, unsigned_weights: bool
    ) -> None:
        self._graph, self._pairs, self._integer_bias = graph, pairs, integer_bias
        self._unsigned_weights = unsigned_weights
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        self._rounded: dict[tuple[str, ValueQParams], str] = {}
        self._constants: dict[tuple[object, ...], str] = {}
        self._count = 0

    def run(self) -> None:
        for node in list(self._graph.node):
            name = node.output[0]
            for position, data in enumerate(node.input):
                qparams = self._pairs.inputs.get((name, position))
                if qparams is not None and self._pairs.outputs.get(data) != qparams:
                    node.input[position] = self._read(data, qparams)
            if name in self._pairs.weights:
                self._layer(node, self._pairs.weights[name])
            self._nodes.append(node)
            for position, value in enumerate(node.output):
                if value in self._pairs.outputs:
                    node.output[position] = f"{value}/raw"
                    self._pair(f"{value}/raw", self._pairs.outputs[value], value)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _read(self, data: str, qparams: ValueQParams) -> str:
        key = (data, qparams)
        if key not in self._rounded:
            self._count += 1
            self._rounded[key] = self._pair(data, qparams, f"{data}/read_{self._count}")
        return self._rounded[key]

    def _pair(self, data: str, qparams: ValueQParams, output: str) -> str:
        kind = np.int8 if qparams.signed else np.uint8
        if qparams.ends is not None:
            least, largest = ((end - qparams.zero_point) * qparams.scale for end in qparams.ends)
            ends = [self._constant("end", np.float32(end)) for end in (least, largest)]
            self._node("Clip", [data, *ends], f"{output}/clipped")
            data = f"{output}/clipped"
        scale = self._constant("scale", np.float32(qparams.scale))
        zero = self._constant("zero", kind(qparams.zero_point))
        integers = f"{output}/integers"
        self._node("QuantizeLinear", [data, scale, zero], integers)
        if data in self._pairs.anchored:
            integers = self._anchor(integers)
        self._node("DequantizeLinear", [integers, scale, zero], output)
        return output

    def _anchor(self, integers: str) -> str:
        """The integers by way of the other layout; the Gather keeps the two from cancelling out."""
        turned, kept, anchored = (f"{integers}/{part}" for part in ("turned", "kept", "anchored"))
        first = self._constant("first", np.asarray([0], np.int64))
        self._node("Transpose", [integers], turned, perm=[0, 2, 3, 1])
        self._node("Gather", [turned, first], kept, axis=0)
        self._node("Transpose", [kept], anchored, perm=[0, 3, 1, 2])
        return anchored

    def _layer(self, node: onnx.NodeProto, qparams: WeightQParams) -> None:
        name = node.output[0]
        scales = self._store(f"{name}/weight_scales", qparams.scales)
        stored: NDArray[np.generic] = qparams.integers
        zeros: NDArray[np.generic] = np.zeros(qparams.scales.shape, np.int8)
        if self._unsigned_weights:
            stored = (qparams.integers.astype(np.int16) + 128).astype(np.uint8)
            zeros = np.full(qparams.scales.shape, 128, np.uint8)
        zeros_name = self._store(f"{name}/weight_zeros", zeros)
        integers = self._store(f"{name}/weight", stored)
        node.input[1] = f"{name}/weight_values"
        along = {"axis": qparams.axis} if qparams.scales.ndim else {}
        self._node("DequantizeLinear", [integers, scales, zeros_name], node.input[1], **along)
        if self._integer_bias and len(node.input) > 2 and node.input[2] in self._weights:
            unit = np.asarray(np.float32(qparams.input_scale) * qparams.scales)
            bias = numpy_helper.to_array(self._weights[node.input[2]]).astype(np.float64)
            counted = np.clip(np.rint(bias / unit), -_INT32, _INT32).astype(np.int32)
            integers = self._store(f"{name}/bias", counted)
            scales = self._store(f"{name}/bias_scales", unit)
            node.input[2] = f"{name}/bias_values"
            along = {"axis": 0} if unit.ndim else {}
            self._node("DequantizeLinear", [integers, scales], node.input[2], **along)

    def _node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> None:
        name = f"{output}/{op_type}"
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))

    def _constant(self, kind: str, value: np.generic | NDArray[np.generic]) -> str:
        key = (kind, value.dtype.str, value.item())
        if key not in self._constants:
            name = f"{kind}_{value.dtype}_{len(self._constants)}/quantised"
            self._constants[key] = self._store(name, np.asarray(value))
        return self._constants[key]

    def _store(self, name: str, values: NDArray[np.generic]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name


def integers_through(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with copies between two roundings made on the integers.

    A slice, a transpose or a padding with zeros of what was dequantised becomes the same of the
    integers, dequantised afterwards: ONNX Runtime would leave the integers for it otherwise.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        source = made.get(node.input[0]) if node.input else None
        if source is None or source.input[0] in weights or not _moves(node, weights):
            nodes.append(node)
            continue
        value, integers = node.output[0], f"{node.output[0]}/integers"
        node.input[0], node.output[0] = source.input[0], integers
        if node.op_type == "Pad":
            del node.input[2:]
            node.input.append(source.input[2])
        after = helper.make_node(
            "DequantizeLinear", [integers, *source.input[1:]], [value], name=f"{value}/after"
        )
        made[value] = after
        nodes += [node, after]
    read = {name for node in nodes for name in node.input}
    read |= {value.name for value in graph.output}
    kept = [node for node in nodes if node.op_type != "DequantizeLinear" or node.output[0] in read]
    del graph.node[:]
    graph.node.extend(kept)
    return result


def with_integer_rectifiers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with ReLUs and clips of what is rounded next made on the integers.

    Where the integers end as the rectifier does, rounding does the same and the rectifier goes.
    ONNX Runtime would run a convolution in float for a rectifier between it and the rounding,
    several times slower, and finds few of those out that do nothing.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    users = readers(graph.node)
    ends = {value.name for value in graph.output}
    nodes: list[onnx.NodeProto] = []
    bounds: dict[str, tuple[str, IntegerEnds]] = {}
    for node in graph.node:
        span = _span(node, weights)
        if span is not None and node.output[0] not in ends and users.get(node.output[0]):
            found = [_integer_ends(each, span, weights) for each in users[node.output[0]]]
            if None not in found:
                for each, integers in zip(users[node.output[0]], found, strict=True):
                    assert integers is not None
                    bounds[each.output[0]] = node.input[0], integers
                continue
        nodes.append(node)
        if node.output[0] in bounds:
            node.input[0], integers = bounds[node.output[0]]
            nodes += _clipped(graph, node, integers)
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _clipped(
    graph: onnx.GraphProto, rounding: onnx.NodeProto, ends: IntegerEnds
) -> list[onnx.NodeProto]:
    """What keeps a rounding's integers between ends: nothing where these are the type's."""
    kind = np.iinfo(ends[0].dtype)
    if (int(ends[0]), int(ends[1])) == (kind.min, kind.max):
        return []
    value = rounding.output[0]
    raw, names = f"{value}/unclipped", [f"{value}/least", f"{value}/most"]
    rounding.output[0] = raw
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(end), name)
        for end, name in zip(ends, names, strict=True)
    )
    return [helper.make_node("Clip", [raw, *names], [value], name=f"{value}/Clip")]


def _span(node: onnx.NodeProto, weights: Mapping[str, TensorProto]) -> tuple[float, float] | None:
    """Between which numbers a rectifier's outputs lie; None of other nodes."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip":
        return None
    found = [-math.inf, math.inf]
    for place, name in enumerate(node.input[1:3]):
        if not name:
            continue
        if name not in weights:
            return None
        found[place] = float(numpy_helper.to_array(weights[name]))
    return found[0], found[1]


def _integer_ends(
    node: onnx.NodeProto, span: tuple[float, float], weights: Mapping[str, TensorProto]
) -> IntegerEnds | None:
    """Least and largest integer that a node rounds numbers of a span to; None where it does not."""
    if node.op_type != "QuantizeLinear" or not {*node.input[1:3]} <= {*weights}:
        return None
    if len(node.input) < 3:
        return None
    scale, zero = (numpy_helper.to_array(weights[name]) for name in node.input[1:3])
    if scale.size != 1:
        return None
    kind = np.iinfo(zero.dtype)
    # as the runtime does: the quotient in float32, half to even
    quotients = np.asarray(span, np.float32) / scale.astype(np.float32).item()
    least, most = np.clip(np.rint(quotients) + int(zero.item()), kind.min, kind.max)
    return zero.dtype.type(least), zero.dtype.type(most)


def _moves(node: onnx.NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    if node.op_type != "Pad":
        return node.op_type in MOVES
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"constant")
    if mode != b"constant" or len(node.input) > 3:
        return False
    if len(node.input) < 3 or not node.input[2]:
        return True
    filled = weights.get(node.input[2])
    return filled is not None and not numpy_helper.to_array(filled).any()


def with_stored_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its constants among its weights, where one exporter leaves nodes for them."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = list(result.graph.node)
    for node in nodes:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            result.graph.initializer.append(tensor)
            result.graph.node.remove(node)
    return result


def readers(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each value."""
    result: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.input):
            result.setdefault(name, []).append(node)
    return result
