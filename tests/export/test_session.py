"""Files are checked in exact integer arithmetic, whatever the processor's kernels do."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from automl.export.matching import run_all
from automl.export.session import Session, checking_options

WIDTH = 64
#: The largest magnitudes of both signs: any two products of one row exceed 16 bits.
WEIGHTS = np.array([[127] * WIDTH, [-127] * WIDTH, [127, 127, -127, -127] * (WIDTH // 4)], np.int8)
LARGEST = np.full((1, WIDTH), 255, np.float32)


def linear() -> bytes:
    """A linear layer on unsigned bytes of scale 1; it writes its 32-bit sums as floats."""
    stored = {
        "one": np.array(1, np.float32),
        "zero_u8": np.array(0, np.uint8),
        "zero_s8": np.array(0, np.int8),
        "weights": WEIGHTS,
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero_u8"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero_u8"], ["values"]),
        helper.make_node("DequantizeLinear", ["weights", "one", "zero_s8"], ["w"]),
        helper.make_node("Gemm", ["values", "w"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, len(WEIGHTS)])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def saturating(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The sums of kernels that add pairs of products in 16 bits."""
    products = values.astype(np.int64) * WEIGHTS
    pairs = products.reshape(len(WEIGHTS), -1, 2).sum(2)
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(1)


def test_sums_are_exact() -> None:
    (found,) = Session(linear()).run(LARGEST)
    exact = (LARGEST.astype(np.int64) @ WEIGHTS.astype(np.int64).T)[0]
    assert np.array_equal(found[0], exact)
    assert abs(saturating(LARGEST) - exact).max() > 0.4 * abs(exact).max()


def test_they_are_sums_of_an_integer_kernel_that_does_not_saturate(tmp_path: Path) -> None:
    """Float sums would be exact anyway, and so would be sums of processors with VNNI: on x86 the
    kernel shows in the type of the weights, which ONNX Runtime changes for the option alone."""
    options = checking_options()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(linear(), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "optimised.onnx").graph
    assert [node.op_type for node in graph.node] == ["QuantizeLinear", "QGemm"]
    if platform.machine() in ("x86_64", "AMD64"):
        assert TensorProto.INT8 not in {tensor.data_type for tensor in graph.initializer}


def all_values(content: bytes) -> object:
    return run_all(onnx.load_from_string(content), LARGEST)


@pytest.mark.parametrize("check", [Session, all_values])
def test_every_check_asks_for_exact_arithmetic(
    check: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = onnxruntime.InferenceSession

    def watched(
        content: bytes, options: onnxruntime.SessionOptions, providers: list[str]
    ) -> onnxruntime.InferenceSession:
        asked.append(options.get_session_config_entry("session.x64quantprecision"))
        return real(content, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    check(linear())
    assert asked == ["1"]
