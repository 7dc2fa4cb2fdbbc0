"""A worker says whether sums of products of bytes saturate where it runs."""

from __future__ import annotations

import base64
import sys
import zlib
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from automl.profiling import worker_products
from automl.profiling.runner import LocalRunner
from automl.profiling.worker import OnnxRuntime
from automl.profiling.worker_products import MODEL, WIDTH, saturates

OUTPUTS = 8


def graph() -> onnx.GraphProto:
    """What `MODEL` is."""
    stored = {
        "one": np.array(1, np.float32),
        "u": np.array(0, np.uint8),
        "s": np.array(0, np.int8),
        "kernel": np.full((OUTPUTS, WIDTH, 1, 1), 127, np.int8),
        "matrix": np.full((OUTPUTS, WIDTH), 127, np.int8),
        "step": np.array(WIDTH * 127, np.float32),
        "s2": np.array(0, np.int8),
    }
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("QuantizeLinear", ["maps", "one", "u"], ["read"]),
        node("DequantizeLinear", ["read", "one", "u"], ["values"]),
        node("DequantizeLinear", ["kernel", "one", "s"], ["weights"]),
        node("Conv", ["values", "weights"], ["raw"]),
        node("QuantizeLinear", ["raw", "step", "u"], ["rounded"]),
        node("DequantizeLinear", ["rounded", "step", "u"], ["conv"]),
        node("QuantizeLinear", ["row", "one", "u"], ["row_read"]),
        node("DequantizeLinear", ["row_read", "one", "u"], ["row_values"]),
        node("DequantizeLinear", ["matrix", "one", "s2"], ["row_weights"]),
        node("Gemm", ["row_values", "row_weights"], ["linear"], transB=1),
    ]
    inputs = [
        info("maps", TensorProto.FLOAT, [1, WIDTH, 1, 1]),
        info("row", TensorProto.FLOAT, [1, WIDTH]),
    ]
    outputs = [
        info("conv", TensorProto.FLOAT, [1, OUTPUTS, 1, 1]),
        info("linear", TensorProto.FLOAT, [1, OUTPUTS]),
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    return helper.make_graph(nodes, "products", inputs, outputs, weights)


def test_the_model_is_what_is_said_of_it() -> None:
    held = onnx.load_from_string(zlib.decompress(base64.b64decode(MODEL)))
    onnx.checker.check_model(held, full_check=True)
    assert held.graph == graph()


def summed(pairs_saturate: bool) -> Any:
    """A runtime that adds up products in 16 bits, two at a time, or in 32."""

    def run(model: bytes, inputs: dict[str, Any]) -> list[NDArray[np.float32]]:
        products = inputs["row"].astype(np.int64).reshape(-1, 2) * 127
        pairs = products.sum(1)
        total = np.clip(pairs, -(2**15), 2**15 - 1).sum() if pairs_saturate else pairs.sum()
        return [np.full((1, OUTPUTS), total, np.float32)]

    return run


@pytest.mark.parametrize("pairs_saturate", [False, True])
def test_sums_tell(pairs_saturate: bool) -> None:
    assert saturates(summed(pairs_saturate)) == pairs_saturate


def test_exact_kernels_do_not_saturate_on_any_processor() -> None:
    def run(model: bytes, inputs: dict[str, Any]) -> list[Any]:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found: list[Any] = session.run(None, inputs)
        return found

    assert not saturates(run)


def test_the_worker_says_what_its_runtime_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "worker_products", worker_products)
    found = OnnxRuntime().saturates()
    with LocalRunner() as runner:
        assert runner.info.saturates is found
