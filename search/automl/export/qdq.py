"""ONNX files of integer networks: QuantizeLinear and DequantizeLinear pairs, int8 weights.

The float network is exported, the operations that a `QuantizedModel` rounds are found in it, and
pairs put where it rounds. Rounded weights are stored as int8, one scale per output channel, or per
layer where the target knows no more; those on codebooks (for size alone) as the floats that they
stand for. The file is believed only when ONNX Runtime computes what the `QuantizedModel` does
(`agreement`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from automl.compression import (
    ActivationQParams,
    Plan,
    QParams,
    QuantizedModel,
    Source,
    is_per_tensor,
)
from automl.export.float_onnx import float_onnx
from automl.export.matching import (
    OperationMatch,
    RecordedValues,
    find_operations,
    lost,
    record_values,
)
from automl.network import example_of
from automl.policy import is_float
from automl.profiling import (
    Pairs,
    ValueQParams,
    WeightQParams,
    placed,
    weight_axis,
    with_pairs,
    with_shapes,
    with_stored_constants,
)

Tensor = torch.Tensor

_FULL: Final = ((0, 255), (-128, 127))


def quantized_bytes(
    model: QuantizedModel, input_shape: Sequence[int], *, thorough: bool = False
) -> bytes:
    """The integer network as ONNX, batch 1; arguments as of `float_onnx`.

    Raises:
        ModelError: The model cannot be exported.
    """
    content = float_onnx(model.network, input_shape, thorough=thorough)
    recorded = record_plan(model.network, model.plan, input_shape)
    return quantized_onnx(content, model, recorded)


def record_plan(network: torch.nn.Module, plan: Plan, input_shape: Sequence[int]) -> RecordedValues:
    """Inputs and outputs of a plan's operations on a random input, unrounded.

    The input is between 0 and 1 where others lead to values that are no numbers.
    """
    example, places = example_of(network, input_shape), {*plan.inputs, *plan.rounding.outputs}
    recorded = record_values(network, places, example)
    if _finite(recorded) or not example.is_floating_point():
        return recorded
    return record_values(network, places, example.sigmoid())


def _finite(recorded: RecordedValues) -> bool:
    read = (each for values in recorded.inputs.values() for each in values)
    return all(each.finite for each in (*read, *recorded.outputs.values()))


def quantized_onnx(content: bytes, model: QuantizedModel, recorded: RecordedValues) -> bytes:
    """The float ONNX model of a quantised model's network as an integer one."""
    proto = with_stored_constants(onnx.load_from_string(content))
    residual = (model.scheme or "").endswith("residual")
    if model.scheme is not None and not residual:
        proto = with_global_pools(proto)
    pairs = _pairs(proto, model, recorded)
    if model.scheme is None:
        result = with_pairs(proto, pairs, integer_bias=False)
    else:
        result = placed(proto, pairs, model.scheme)
    written: bytes = result.SerializeToString()
    return written


def _pairs(proto: onnx.ModelProto, model: QuantizedModel, recorded: RecordedValues) -> Pairs:
    plan = model.plan
    matches = find_operations(proto, recorded)
    written = {
        matches[address].value: _value_grid(model.qparams[address, bits])
        for address, bits in plan.rounding.outputs.items()
    }
    settled = set(plan.rounding.outputs.items())
    inputs: dict[tuple[str, int], ValueQParams] = {}
    weights: dict[str, WeightQParams] = {}
    constants = {tensor.name for tensor in proto.graph.initializer}
    for address, sources in plan.inputs.items():
        match = matches[address]
        for source, position in zip(sources, match.positions, strict=True):
            if source is None or source in settled:
                continue
            if position is None:
                raise lost(recorded.steps[address], "reads")
            inputs[match.node.output[0], position] = _value_grid(model.qparams[source])
        layer = recorded.steps[address].module
        integer = layer in model.bits and not is_float(model.bits[layer])
        known = model.weights.get(layer) if integer else None  # of weights alone, floats run
        if isinstance(known, QParams) and match.node.input[1] in constants:
            weights[match.node.output[0]] = _layer_weights(model, layer, match, sources)
    return Pairs(written, inputs, weights)


def _value_grid(qparams: ActivationQParams) -> ValueQParams:
    ends = (qparams.low, qparams.high)
    return ValueQParams(
        qparams.scale, qparams.zero_point, qparams.low < 0, None if ends in _FULL else ends
    )


def _layer_weights(
    model: QuantizedModel, layer: str, match: OperationMatch, sources: Sequence[Source | None]
) -> WeightQParams:
    integers, axis = model.integers(layer).numpy(), weight_axis(match.node)
    turned = integers.T if axis else integers
    source = sources[0]
    scale = model.qparams[source].scale if source is not None else 1.0
    scales = model.scales(layer).numpy()
    if is_per_tensor(model.scheme):  # they are all alike
        scales = scales[:1].reshape(())
    return WeightQParams(np.ascontiguousarray(turned), scales, axis, scale)


def with_global_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with means over whole maps as pools: of the two these have an integer kernel."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    shapes = _shapes(model)
    means = [node for node in model.graph.node if node.op_type == "ReduceMean"]
    axes = {name for node in means for name in node.input[1:]}
    constants = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name in axes
    }
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        if node.op_type != "ReduceMean" or not _over_maps(node, shapes, constants):
            nodes.append(node)
            continue
        data, value = node.input[0], node.output[0]
        keeps = next((each.i for each in node.attribute if each.name == "keepdims"), 1)
        maps = value if keeps else f"{value}/maps"
        nodes.append(helper.make_node("GlobalAveragePool", [data], [maps], name=f"{maps}/pool"))
        if not keeps:
            nodes.append(helper.make_node("Flatten", [maps], [value], name=f"{value}/flat"))
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def _shapes(model: onnx.ModelProto) -> dict[str, int]:
    """Number of dimensions of each value."""
    graph = with_shapes(model)
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}


def _over_maps(
    node: onnx.NodeProto, shapes: Mapping[str, int], constants: Mapping[str, np.ndarray]
) -> bool:
    if shapes.get(node.input[0]) != 4:
        return False
    axes: list[int] = []
    if len(node.input) > 1 and node.input[1] in constants:
        axes = constants[node.input[1]].ravel().tolist()
    for attribute in node.attribute:
        axes = list(attribute.ints) if attribute.name == "axes" else axes
    return sorted(axis % 4 for axis in axes) == [2, 3]
