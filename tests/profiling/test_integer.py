"""A float model in the integer scheme of a target, made for its time alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from operator_keys import counts

from automl.network.layers import OPERATORS
from automl.profiling.graphs import Graph
from automl.profiling.integer import (
    INTEGER_OPERATORS,
    SCHEMES,
    has_integer_kernel,
    integer_model,
    is_unsigned,
    weight_axis,
)


def residual() -> bytes:
    """Two convolutions, the second added to what the first wrote."""
    graph = Graph()
    first = graph.relu(graph.conv(graph.input(1, 4, 6, 6), 4, 4))
    return graph.serialise(graph.relu(graph.node("Add", graph.conv(first, 4, 4), first)))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_layer_has_integer_weights(scheme: str) -> None:
    made = onnx.load_from_string(integer_model(residual(), scheme))
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    weights = [tensor for name, tensor in stored.items() if name.endswith("/weight")]
    assert len(weights) == 2
    zero = 128 if scheme == "qdq-u8u8" else 0
    for tensor in weights:
        array = numpy_helper.to_array(tensor)
        assert array.dtype == (np.uint8 if zero else np.int8)
        integers = np.abs(array.astype(int) - zero)
        largest = integers.max(axis=(1, 2, 3)).tolist()
        if scheme.endswith("-tensor"):
            assert max(largest) == 127 > min(largest)
        else:
            assert largest == [127] * 4


def zero_points(content: bytes) -> set[tuple[str, int]]:
    made = onnx.load_from_string(content)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    zeros = [stored[node.input[2]] for node in made.graph.node if node.op_type == "QuantizeLinear"]
    return {(str(zero.dtype), int(zero)) for zero in zeros}


def test_activations_are_unsigned_or_symmetric_as_the_scheme_says() -> None:
    assert zero_points(integer_model(residual(), "qdq-u8s8")) == {("uint8", 0), ("uint8", 128)}
    assert zero_points(integer_model(residual(), "qdq-s8s8")) == {("int8", 0)}
    assert [is_unsigned(scheme) for scheme in SCHEMES] == [True] * 4 + [False] * 3


def test_a_residual_scheme_hands_the_sum_on_unrounded() -> None:
    plain = counts(integer_model(residual(), "qdq-s8s8"))["QuantizeLinear"]
    assert counts(integer_model(residual(), "qdq-s8s8-residual"))["QuantizeLinear"] == plain - 1


def test_no_two_values_have_one_scale() -> None:
    made = onnx.load_from_string(integer_model(residual(), "qdq-s8s8"))
    scales = {node.input[1] for node in made.graph.node if node.op_type == "QuantizeLinear"}
    assert len(scales) == counts(integer_model(residual(), "qdq-s8s8"))["QuantizeLinear"]


def test_what_stays_float_is_neither_rounded_nor_stored_as_integers() -> None:
    content = residual()
    nodes = onnx.load_from_string(content).graph.node
    first = next(node.output[0] for node in nodes if node.op_type == "Conv")
    made = onnx.load_from_string(integer_model(content, "qdq-s8s8", floats=[first]))
    weights = [t.name for t in made.graph.initializer if t.name.endswith("/weight")]
    assert len(weights) == 1
    assert f"{first}/weight" not in weights


def test_integer_kernels_are_of_operators_that_there_are() -> None:
    assert set(INTEGER_OPERATORS) <= set(OPERATORS)
    assert has_integer_kernel("add")
    assert not has_integer_kernel("add", "channel")
    assert has_integer_kernel("resize", "nearest")
    assert not has_integer_kernel("resize", "linear")
    assert not has_integer_kernel("softmax")


@pytest.mark.parametrize(
    ("node", "axis"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"]), 0),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), 0),
        (helper.make_node("Gemm", ["x", "w"], ["y"]), 1),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), 1),
    ],
)
def test_output_channels_lie_where_the_node_has_them(node: onnx.NodeProto, axis: int) -> None:
    assert weight_axis(node) == axis
