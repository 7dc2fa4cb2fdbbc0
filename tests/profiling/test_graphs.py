"""Tiny ONNX models, node by node."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from operator_keys import output_shape

from automl.profiling.graphs import OPSET, Graph


def built(precision: str = "fp32") -> onnx.ModelProto:
    graph = Graph(precision)
    data = graph.input(1, 8, 4, 4)
    one = graph.relu(graph.conv(data, 8, 16, (3, 3), groups=2, pads=(1, 1, 1, 1)))
    two = graph.conv(data, 8, 16)
    return onnx.load_from_string(graph.serialise(graph.sum([one, two, one])))


@pytest.mark.parametrize(
    ("precision", "kind"), [("fp32", TensorProto.FLOAT), ("fp16", TensorProto.FLOAT16)]
)
def test_a_model_has_shapes_and_one_type(precision: str, kind: int) -> None:
    model = built(precision)
    assert output_shape(model.SerializeToString()) == (1, 16, 4, 4)
    assert model.opset_import[0].version == OPSET
    assert {tensor.data_type for tensor in model.graph.initializer} == {kind}
    assert model.graph.input[0].type.tensor_type.elem_type == kind


def test_nodes_come_in_the_order_in_which_they_were_added() -> None:
    assert [node.op_type for node in built().graph.node] == ["Conv", "Relu", "Conv", "Add", "Add"]
    assert len({name for node in built().graph.node for name in node.output}) == 5


def test_weights_are_the_same_every_time_and_no_two_are_alike() -> None:
    first, second = (
        [numpy_helper.to_array(tensor) for tensor in built().graph.initializer] for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({each.tobytes() for each in first}) == len(first)


def test_weights_keep_the_scale_of_what_goes_through_them() -> None:
    graph = Graph()
    graph.weight(64, 256, fan_in=256)
    graph.positive(512)
    graph.integers(1, 2)
    graph.scalar(0.5)
    weight, positive, integers, scalar = (
        numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(graph.serialise()).graph.initializer
    )
    assert weight.std() == pytest.approx(1 / 16, rel=0.1)
    assert 0.5 <= positive.min() < positive.max() <= 1.5
    assert (integers.dtype, integers.tolist()) == (np.int64, [1, 2])
    assert (scalar.shape, float(scalar)) == ((), 0.5)


def test_numbers_stay_32_bit_floats_in_a_half_model() -> None:
    graph = Graph("fp16")
    graph.numbers(1.0, 2.0)
    (tensor,) = onnx.load_from_string(graph.serialise()).graph.initializer
    assert tensor.data_type == TensorProto.FLOAT
