"""Pairs put into a float model: where they stand, and that the model then computes rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from automl.export.session import checking_options
from automl.profiling.integer import placed
from automl.profiling.qdq import (
    Pairs,
    ValueQParams,
    WeightQParams,
    integers_through,
    readers,
    with_integer_rectifiers,
    with_pairs,
    with_stored_constants,
)

Array = NDArray[np.float32]
HALF = ValueQParams(0.5)
UNSIGNED = ValueQParams(0.5, 3, signed=False)


def model(*nodes: onnx.NodeProto, **stored: NDArray[np.generic]) -> onnx.ModelProto:
    """A model from x (1, 4) to y."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def computed(made: onnx.ModelProto, x: Array) -> Array:
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), checking_options(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0])


def types(made: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in made.graph.node]


NEGATED = model(helper.make_node("Neg", ["x"], ["y"]))
VALUES = np.array([[0.2, -0.3, 1.1, 100.0]], np.float32)


def test_a_value_that_is_read_rounded_is_rounded_for_that_reader_alone() -> None:
    double = model(
        helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Add", ["x", "n"], ["y"])
    )
    made = with_pairs(double, Pairs(inputs={("n", 0): HALF}), integer_bias=True)
    assert types(made) == ["QuantizeLinear", "DequantizeLinear", "Neg", "Add"]
    np.testing.assert_allclose(computed(made, VALUES), VALUES - [[0.0, -0.5, 1.0, 63.5]], atol=1e-6)
    assert types(double) == ["Neg", "Add"]  # left as it is


def test_a_value_that_is_written_rounded_is_rounded_for_all() -> None:
    made = with_pairs(NEGATED, Pairs(outputs={"y": UNSIGNED}), integer_bias=True)
    np.testing.assert_allclose(computed(made, VALUES), [[0.0, 0.5, -1.0, -1.5]], atol=1e-6)


def test_what_is_written_rounded_is_not_rounded_again_where_it_is_read() -> None:
    chain = model(helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Neg", ["n"], ["y"]))
    both = Pairs(outputs={"n": HALF}, inputs={("y", 0): HALF})
    assert types(with_pairs(chain, both, integer_bias=True)).count("QuantizeLinear") == 1
    other = Pairs(outputs={"n": HALF}, inputs={("y", 0): UNSIGNED})
    assert types(with_pairs(chain, other, integer_bias=True)).count("QuantizeLinear") == 2


def test_fewer_bits_than_the_type_are_clipped() -> None:
    few = ValueQParams(1.0, 0, True, (-2, 1))
    made = with_pairs(NEGATED, Pairs(inputs={("y", 0): few}), integer_bias=True)
    np.testing.assert_allclose(computed(made, VALUES), [[0, 0, -1, -1]], atol=1e-6)


def test_anchored_integers_take_the_way_of_the_other_layout_and_stay_the_same() -> None:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 2, 2]) for name in ("x", "y")
    ]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "maps", ends[:1], ends[1:])
    maps = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    pairs = Pairs(inputs={("y", 0): HALF}, anchored={"x": (1, 2, 2, 2)})
    made = with_pairs(maps, pairs, integer_bias=True)
    assert types(made)[1:4] == ["Transpose", "Gather", "Transpose"]
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    np.testing.assert_allclose(computed(made, x), -x)


def gemm() -> onnx.ModelProto:
    return model(
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1),
        w=np.ones((2, 4), np.float32),
        b=np.array([1.1, -0.4], np.float32),
    )


WEIGHTS = WeightQParams(
    np.array([[1, 2, 3, 4], [0, 0, 0, -8]], np.int8), np.array([0.25, 0.5], np.float32), 0, 0.5
)


@pytest.mark.parametrize(("integer_bias", "bias"), [(True, [1.125, -0.5]), (False, [1.1, -0.4])])
def test_integer_weights_stand_in_the_place_of_floats(
    integer_bias: bool, bias: list[float]
) -> None:
    made = with_pairs(gemm(), Pairs(weights={"y": WEIGHTS}), integer_bias=integer_bias)
    stored = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert stored["y/weight"] == TensorProto.INT8
    assert ("y/bias" in stored) == integer_bias
    assert "w" not in stored
    weights = WEIGHTS.integers * WEIGHTS.scales[:, None]
    np.testing.assert_allclose(computed(made, VALUES), VALUES @ weights.T + bias, rtol=1e-6)


def pair(data: str, output: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [data, "scale", "zero"], [f"{output}_q"]),
        helper.make_node("DequantizeLinear", [f"{output}_q", "scale", "zero"], [output]),
    ]


SCALES: dict[str, NDArray[Any]] = {
    "scale": np.array(0.5, np.float32),
    "zero": np.array(3, np.uint8),
}


def test_moves_between_roundings_are_made_on_the_integers() -> None:
    moved = model(
        *pair("x", "a"),
        helper.make_node("Pad", ["a", "ends"], ["p"]),
        helper.make_node("Transpose", ["p"], ["t"], perm=[1, 0]),
        helper.make_node("Neg", ["t"], ["y"]),
        ends=np.array([0, 1, 0, 1]),
        **SCALES,
    )
    made = integers_through(moved)
    assert types(made) == ["QuantizeLinear", "Pad", "Transpose", "DequantizeLinear", "Neg"]
    np.testing.assert_allclose(computed(made, VALUES), computed(moved, VALUES))


def test_padding_with_other_numbers_is_left_to_floats() -> None:
    padded = model(
        *pair("x", "a"),
        helper.make_node("Pad", ["a", "ends", "filler"], ["y"]),
        ends=np.array([0, 1, 0, 1]),
        filler=np.array(0.7, np.float32),
        **SCALES,
    )
    assert types(integers_through(padded)) == ["QuantizeLinear", "DequantizeLinear", "Pad"]


#: Above 6 by an error of float32, as a range that was found as (0, 6) may be stored.
SIXTHS = np.nextafter(np.float32(6 / 255), np.float32(1))
ROUNDED = ["QuantizeLinear", "DequantizeLinear"]
CLIPPED = ["QuantizeLinear", "Clip", "DequantizeLinear"]
WIDE = np.linspace(-9, 9, VALUES.size, dtype=np.float32).reshape(VALUES.shape)


@pytest.mark.parametrize("zero", [0, 3])
def test_a_relu_is_made_on_integers_or_by_rounding(zero: int) -> None:
    stored = {**SCALES, "zero": np.array(zero, np.uint8)}
    relu = model(helper.make_node("Relu", ["x"], ["r"]), *pair("r", "y"), **stored)
    made = with_integer_rectifiers(relu)
    assert types(made) == (CLIPPED if zero else ROUNDED)
    np.testing.assert_array_equal(computed(made, WIDE), computed(relu, WIDE))


@pytest.mark.parametrize(
    ("scale", "zero", "kind", "expected"),
    [
        (SIXTHS, 0, np.uint8, ROUNDED),
        (np.float32(5 / 255), 0, np.uint8, ROUNDED),
        (SIXTHS, -128, np.int8, ROUNDED),
        (np.float32(6.03 / 255), 0, np.uint8, CLIPPED),
        (np.float32(7 / 255), 0, np.uint8, CLIPPED),
        (SIXTHS, 3, np.uint8, CLIPPED),
        (np.float32(9 / 127), 0, np.int8, CLIPPED),
    ],
)
def test_a_clip_is_made_on_integers_or_by_rounding(
    scale: np.float32, zero: int, kind: type, expected: list[str]
) -> None:
    ends = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    stored: dict[str, NDArray[np.generic]] = {**ends, "scale": np.array(scale)}
    stored["zero"] = np.array(zero, kind)
    clip = model(helper.make_node("Clip", ["x", "low", "high"], ["r"]), *pair("r", "y"), **stored)
    made = with_integer_rectifiers(clip)
    assert types(made) == expected
    np.testing.assert_array_equal(computed(made, WIDE), computed(clip, WIDE))


def test_a_rectifier_that_is_read_in_float_too_stays() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), *pair("r", "d")]
    read = model(*nodes, helper.make_node("Add", ["r", "d"], ["y"]), **SCALES)
    assert types(with_integer_rectifiers(read)) == types(read)


def test_a_convolution_before_a_needed_clip_runs_on_integers(tmp_path: Path) -> None:
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 4, 4]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    stored = {"weight": np.ones((8, 8, 1, 1), np.float32), "low": np.array(0, np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["r"]),
        helper.make_node("Identity", ["r"], ["y"]),
    ]
    weights = [numpy_helper.from_array(each, name) for name, each in stored.items()]
    weights.append(numpy_helper.from_array(np.array(6, np.float32), "high"))
    graph = helper.make_graph(nodes, "clipped", ends[:1], ends[1:], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    integers = WeightQParams(np.ones((8, 8, 1, 1), np.int8), np.ones(8, np.float32), 0, 0.5)
    beyond = ValueQParams(6.03 / 255, signed=False)
    pairs = Pairs({}, {("c", 0): UNSIGNED, ("y", 0): beyond}, {"c": integers})
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    made = placed(proto, pairs, "qdq-u8s8").SerializeToString()
    onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    found = types(onnx.load(tmp_path / "fused.onnx"))
    assert "QLinearConv" in found
    assert not {"Conv", "FusedConv"} & {*found}


def test_constants_of_nodes_are_stored_among_the_weights() -> None:
    tensor = numpy_helper.from_array(np.array([1, 2, 3, 4], np.float32))
    made = with_stored_constants(
        model(
            helper.make_node("Constant", [], ["c"], value=tensor),
            helper.make_node("Add", ["x", "c"], ["y"]),
        )
    )
    assert types(made) == ["Add"]
    assert [tensor.name for tensor in made.graph.initializer] == ["c"]
    np.testing.assert_allclose(computed(made, VALUES), VALUES + np.arange(1, 5))


def test_readers_are_named_once() -> None:
    node = helper.make_node("Mul", ["x", "x"], ["y"])
    assert readers([node]) == {"x": [node]}
