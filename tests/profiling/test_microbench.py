"""Tiny models of operators: every operator has one, of the right shape, that its runtime runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from operator_keys import (
    CONVERSIONS,
    INTEGERS,
    KEYS,
    LARGE,
    SMALL,
    counts,
    label,
    output_shape,
)

from automl.errors import MeasureError
from automl.latency.keys import OpKey
from automl.profiling.graphs import Graph
from automl.profiling.integer import SCHEMES, is_unsigned
from automl.profiling.microbench import probe
from automl.profiling.operators import emit, input_shapes, on_tokens

DETAILS = ("celu", "elu", "gelu", "hardsigmoid", "hardswish", "leaky_relu", "mish", "prelu", "relu")
MORE_DETAILS = ("relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh")


@pytest.mark.parametrize("key", KEYS, ids=label)
def test_the_models_of_a_probe_differ_in_the_operator_alone(key: OpKey) -> None:
    found = probe(key)
    high, low = (counts(model) for model in found.models)
    for model in found.models:
        assert all(size > 0 for size in output_shape(model))
    graph = Graph()
    alone = counts(graph.serialise(emit(graph, key, [graph.input(*s) for s in input_shapes(key)])))
    times = round(1.0 / found.weights[0])
    assert found.weights == (1.0 / times, -1.0 / times)
    relu = {"Relu": alone["Relu"] - 1} if key.op == "add" and not on_tokens(key) else {}
    expected = Counter({name: times * number for name, number in (alone | relu).items()})
    assert high - low == +expected


@pytest.mark.parametrize("detail", DETAILS + MORE_DETAILS)
def test_activations(detail: str) -> None:
    found = probe(OpKey("activation", 16, 16, in_size=SMALL, out_size=SMALL, detail=detail))
    assert output_shape(found.models[0]) == (1, 16, 8, 8)


def test_copies_have_weights_of_their_own() -> None:
    model = onnx.load_from_string(probe(OpKey("linear", 64, 64)).models[0])
    contents = [tensor.raw_data for tensor in model.graph.initializer]
    assert len(set(contents)) == len(contents)


def test_large_operators_have_few_copies() -> None:
    size = (56, 56)
    large = OpKey("conv2d", 512, 512, (3, 3), padding=(1, 1), in_size=size, out_size=size)
    assert probe(large).weights[0] == 1 / 2
    assert probe(OpKey("linear", 8, 8)).weights[0] == 1 / 8


def test_what_cannot_be_run_is_said() -> None:
    with pytest.raises(MeasureError, match="precision 'w4a6'"):
        probe(OpKey("linear", 8, 8, precision="w4a6"))
    with pytest.raises(MeasureError, match=r"activation 'silo' \(did you mean silu"):
        probe(OpKey("activation", 8, 8, detail="silo"))
    with pytest.raises(MeasureError, match="operator 'lrn'"):
        probe(OpKey("lrn", 8, 8))


def types(model: bytes) -> set[int]:
    """Element types of all float tensors but the scales of a resize."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True)
    graph = inferred.graph
    scales = {node.input[2] for node in graph.node if node.op_type == "Resize"}
    values = (*graph.input, *graph.output, *graph.value_info)
    found = {value.type.tensor_type.elem_type for value in values}
    found |= {tensor.data_type for tensor in graph.initializer if tensor.name not in scales}
    return found - {onnx.TensorProto.INT64, onnx.TensorProto.BOOL}


@pytest.mark.parametrize("key", KEYS, ids=label)
def test_half_precision_is_half_throughout(key: OpKey) -> None:
    for runtime in ("onnxruntime", "tensorrt"):
        for model in probe(replace(key, precision="fp16"), runtime).models:
            assert types(model) == {onnx.TensorProto.FLOAT16}


#: Operators whose copies follow each other wherever they are run.
CHAINED = ("activation", "mul", "add", "shuffle")
APART = [key for key in KEYS if key.op not in CHAINED or on_tokens(key)]


@pytest.mark.parametrize("key", APART, ids=label)
def test_no_two_copies_read_one_input_where_they_would_be_merged(key: OpKey) -> None:
    found = probe(key, "tensorrt")
    model = onnx.load_from_string(found.models[0])
    inner = {name for node in model.graph.node for name in node.output}
    reads = Counter(
        name
        for node in model.graph.node
        for name in set(node.input)
        if name in inner or name.startswith("input")
    )
    assert set(reads.values()) == {1}


def test_what_surrounds_copies_that_stand_apart_is_taken_off() -> None:
    key = OpKey("conv2d", 32, 48, (3, 3), (2, 2), (1, 1), in_size=LARGE, out_size=SMALL)
    found = probe(key, "tensorrt")
    assert found.weights == (1 / 9, -1 / 18, -1 / 18)
    full, traced, writing = (counts(model) for model in found.models)
    assert full == Counter(Conv=27, Relu=18, Add=8)
    assert traced == writing == Counter(Conv=18, Relu=9, Add=8)
    image = probe(OpKey("conv2d", 3, 48, (3, 3), in_size=LARGE, out_size=(14, 14)), "tensorrt")
    assert image.weights == (1 / 9, -1 / 18)
    rows = probe(OpKey("linear", 64, 64), "tensorrt")
    assert rows.weights == (1 / 9, -1 / 9)


def test_no_operator_can_be_timed_in_litert() -> None:
    with pytest.raises(MeasureError, match="LiteRT runs no ONNX and there is no converter"):
        probe(OpKey("linear", 8, 8), "litert")


def fused(model: bytes, path: Path) -> Counter[str]:
    """What ONNX Runtime makes of a model, as the worker loads it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["CommonSubexpressionElimination"],
    )
    return Counter(node.op_type for node in onnx.load(path).graph.node)


#: The integer kernel that ONNX Runtime runs for an operator of a table.
KERNELS = {
    "conv2d": "QLinearConv",
    "depthwise_conv2d": "QLinearConv",
    "linear": "QGemm",
    "max_pool": "NhwcMaxPool",
    "avg_pool": "QLinearAveragePool",
    "global_avg_pool": "QLinearGlobalAveragePool",
    "add": "QLinearAdd",
    "concat": "QLinearConcat",
    "resize": "Resize",
}
#: What stands around the integer kernels, and in what rows of features are turned into matrices.
AROUND = ("QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape")


@pytest.mark.parametrize("key", INTEGERS, ids=label)
def test_integer_operators_run_on_integers_and_differ_in_nothing_else(
    key: OpKey, tmp_path: Path
) -> None:
    found = probe(key)
    high, low = (fused(model, tmp_path / "optimised.onnx") for model in found.models)
    times = round(1.0 / found.weights[0])
    difference = high - low
    assert difference.pop(KERNELS[key.op]) == times
    assert set(difference) <= {"Reshape"}
    kernels = {*KERNELS.values(), *AROUND}
    assert set(high) | set(low) <= kernels


@pytest.mark.parametrize("key", CONVERSIONS, ids=lambda key: f"{key.in_channels}-{key.detail}")
def test_conversions_are_what_two_models_differ_in(key: OpKey, tmp_path: Path) -> None:
    found = probe(key)
    high, low = (fused(model, tmp_path / "optimised.onnx") for model in found.models)
    times = round(1.0 / found.weights[0])
    way = "QuantizeLinear" if key.detail == "quantize" else "DequantizeLinear"
    maps = key.in_size[1] > 1
    layout: dict[str, int] = {"Transpose": times} if maps else {}
    if maps and key.in_channels > 4:  # fewer are not laid out in blocks
        layout["ReorderOutput" if key.detail == "quantize" else "ReorderInput"] = times
    assert high - low == Counter({way: times} | layout)
    assert not low - high


@pytest.mark.parametrize("scheme", SCHEMES)
def test_forms_say_how_values_are_rounded(scheme: str) -> None:
    key = OpKey("conv2d", 16, 16, (3, 3), padding=(1, 1), in_size=SMALL, out_size=SMALL)
    model = onnx.load_from_string(probe(replace(key, precision="int8"), scheme=scheme).models[0])
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    zeros = [stored[node.input[2]] for node in pairs]
    kind = onnx.TensorProto.UINT8 if is_unsigned(scheme) else onnx.TensorProto.INT8
    assert {tensor.data_type for tensor in zeros} == {kind}
    points = {int(numpy_helper.to_array(tensor)) for tensor in zeros}
    assert points == ({0, 128} if is_unsigned(scheme) else {0})
    biases = [node for node in model.graph.node if node.output[0].endswith("/bias_values")]
    assert bool(biases) == (scheme != "qdq-s8s8-residual")


@pytest.mark.parametrize("key", [*INTEGERS, *CONVERSIONS], ids=label)
def test_tensorrt_probes_hold_their_form_and_floats_in_half_precision(key: OpKey) -> None:
    for content in probe(key, "tensorrt").models:
        model = onnx.load_from_string(content)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        kinds = {value.type.tensor_type.elem_type for value in inferred.graph.input}
        assert kinds == {onnx.TensorProto.FLOAT16}
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        points = [numpy_helper.to_array(stored[node.input[2]]) for node in pairs]
        assert all(point.dtype == "int8" and point == 0 for point in points)
        values = inferred.graph.value_info
        written = {value.name: value.type.tensor_type.elem_type for value in values}
        for node in model.graph.node:
            if node.op_type == "Conv":
                integer = node.input[1].endswith("/weight_values")
                wanted = onnx.TensorProto.FLOAT if integer else onnx.TensorProto.FLOAT16
                assert written[node.output[0]] == wanted


def test_what_has_no_integer_kernel_is_said() -> None:
    with pytest.raises(MeasureError, match="no integer kernel for 'activation silu'"):
        probe(OpKey("activation", 8, 8, detail="silu", precision="int8"))
    with pytest.raises(MeasureError, match=r"no quantization scheme 'qdq-s8u8'.*did you mean"):
        probe(OpKey("linear", 8, 8, precision="int8"), scheme="qdq-s8u8")
    with pytest.raises(MeasureError, match=r"conversion 'quantise' \(did you mean quantize"):
        probe(OpKey("convert", 8, 8, detail="quantise", precision="int8"))
