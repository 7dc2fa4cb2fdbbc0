"""Integer ONNX files compute what was simulated, on integer kernels, in each target's form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.compressor import Compressor
from automl.errors import ModelError
from automl.export.agreement import AGREEMENT, check_quantized
from automl.export.onnx import export_onnx, onnx_bytes
from automl.export.qdq import (
    quantized_bytes,
    quantized_onnx,
    record_plan,
)
from automl.export.uncalibrated import uncalibrated_onnx
from automl.network.precision import Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits, Policy
from automl.profiling.half import half_model
from quantised import (
    INT8,
    SHAPE,
    all_layers,
    images,
    quantised,
    smaller_copy,
    some_layers,
    traced,
)


def kernels(content: bytes, path: Path) -> Counter[str]:
    """What ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path).graph.node)


__all__ = ["traced"]

SCHEMES = (
    "qdq-u8s8",
    "qdq-u8s7",
    "qdq-u8u8",
    "qdq-u8s8-tensor",
    "qdq-s8s8",
    "qdq-s8s8-tensor",
    "qdq-s8s8-residual",
)


@pytest.mark.parametrize("choose", [all_layers, some_layers])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_file_computes_what_was_simulated(
    traced: TracedModel, choose: Any, scheme: str
) -> None:
    model = quantised(traced, choose(traced), scheme)
    content = quantized_bytes(model, SHAPE)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    found = check_quantized(content, model, images())
    assert found.inputs == 64
    assert found.alike >= found.top1 >= 0.95  # of 64 inputs
    assert found.alike >= AGREEMENT
    assert found.mean < 0.004


@pytest.mark.parametrize("scheme", ["qdq-u8s8-tensor", "qdq-s8s8-tensor"])
def test_where_a_layer_has_one_scale_so_have_its_weights_in_the_file(
    traced: TracedModel, scheme: str
) -> None:
    found = Structure(quantized_bytes(quantised(traced, all_layers(traced), scheme), SHAPE))
    scales = [name for name in found.stored if name.endswith(("/weight_scales", "/bias_scales"))]
    assert len(scales) >= 8
    assert all(found.stored[name].shape == () for name in scales)


def test_few_bits_of_simulators_are_kept_too(traced: TracedModel) -> None:
    model = quantised(traced, all_layers(traced, Bits(4, 5)), None)
    found = check_quantized(quantized_bytes(model, SHAPE), model, images())
    assert found.mean < 1e-3  # the same floats, but for values half-way between two integers
    whole = quantised(traced, all_layers(traced), None)
    difference = (model(images()) - whole(images())).abs().max()
    assert difference > 0.05 * whole(images()).abs().max()


def test_an_integer_network_leaves_the_integers_only_at_its_ends(
    traced: TracedModel, tmp_path: Path
) -> None:
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    found = kernels(quantized_bytes(model, SHAPE), tmp_path / "optimised.onnx")
    assert found["QuantizeLinear"] == 1
    assert found["DequantizeLinear"] == 0  # the last linear layer writes floats
    assert found["QLinearConv"] == 7
    assert found["QGemm"] == 2
    assert found["QLinearAdd"] == 2
    assert found["QLinearConcat"] == found["QLinearAveragePool"] == 1
    assert found["QLinearGlobalAveragePool"] == 1


class Tokens(nn.Module):
    """Linear layers on rows of features, which exporters write as products and additions."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head((x + self.down(F.relu(self.up(x)))).mean(1))
        return scores


def test_linear_layers_on_tokens_run_on_integers(tmp_path: Path) -> None:
    shape = (1, 20, 32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        traced = trace_network(Tokens().eval(), shape)
    content = uncalibrated_onnx(
        traced.model, Flow(traced.trace), all_layers(traced), "qdq-u8s8", shape
    )
    found = kernels(content, tmp_path / "optimised.onnx")
    assert found["QGemm"] == 3
    assert found["QLinearAdd"] == 1


def test_float_layers_stay_float_and_shortcuts_keep_their_layout(
    traced: TracedModel, tmp_path: Path
) -> None:
    bits = {name: each for name, each in all_layers(traced).items() if name != "stem"}
    content = uncalibrated_onnx(traced.model, Flow(traced.trace), bits, "qdq-u8s8", SHAPE)
    found = kernels(content, tmp_path / "optimised.onnx")
    assert found["Conv"] == 1
    assert found["QLinearConv"] == 6
    # one into the layout of integers, shared by convolution and shortcut, and one at the end
    assert found["Transpose"] <= 3


class Structure:
    """Nodes of a file by what they write and read."""

    def __init__(self, content: bytes) -> None:
        self.graph = onnx.load_from_string(content).graph
        self.stored = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}

    def of(self, op_type: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if node.op_type == op_type]

    def readers(self, name: str) -> list[str]:
        return [node.op_type for node in self.graph.node if name in node.input]

    def writer(self, name: str) -> str:
        return self.producers[name].op_type if name in self.producers else ""


@pytest.fixture(scope="module")
def tensorrt_file(traced: TracedModel) -> Structure:
    model = quantised(traced, all_layers(traced), "qdq-s8s8-residual")
    return Structure(quantized_bytes(model, SHAPE))


def test_tensorrt_wants_symmetric_int8(tensorrt_file: Structure) -> None:
    """TensorRT, Working with Quantized Types: the scheme is symmetric, INT8 is signed."""
    for node in (*tensorrt_file.of("QuantizeLinear"), *tensorrt_file.of("DequantizeLinear")):
        zeros = tensorrt_file.stored[node.input[2]]
        assert zeros.dtype == np.int8
        assert not zeros.any()
        scale = tensorrt_file.stored[node.input[1]]
        assert scale.dtype == np.float32
        assert (scale > 0).all()
        assert scale.ndim == (1 if node.input[0] in tensorrt_file.stored else 0)


def test_tensorrt_wants_weights_dequantised_per_output_channel(tensorrt_file: Structure) -> None:
    """Explicit Quantization, Quantized Weights: a dequantise layer stands between stored integers
    and the layer; per channel along the output channels. Biases stay float."""
    layers = [*tensorrt_file.of("Conv"), *tensorrt_file.of("Gemm")]
    assert len(layers) == 9
    for node in layers:
        data, weight, *bias = node.input
        assert tensorrt_file.writer(data) == "DequantizeLinear"
        dequantise = tensorrt_file.producers[weight]
        integers = tensorrt_file.stored[dequantise.input[0]]
        assert integers.dtype == np.int8
        assert [a.i for a in dequantise.attribute if a.name == "axis"] == [0]
        assert tensorrt_file.stored[dequantise.input[1]].shape == integers.shape[:1]
        assert all(tensorrt_file.stored[name].dtype == np.float32 for name in bias)


def test_tensorrt_fuses_a_convolution_with_the_addition_that_ends_it(
    tensorrt_file: Structure,
) -> None:
    """Q/DQ Layer-Placement Recommendations: quantise the residual input of an addition, and
    nothing between the convolution and the addition, so that the two become one kernel."""
    additions = tensorrt_file.of("Add")
    assert len(additions) == 2
    for node in additions:
        operands = [tensorrt_file.writer(name) for name in node.input]
        residual = [name for name in operands if name != "Conv"]
        assert operands.count("Conv") == 1
        assert set(residual) <= {"DequantizeLinear", "Pad"}


def test_tensorrt_finds_no_pair_inside_what_it_fuses(tensorrt_file: Structure) -> None:
    """Q/DQ Layer-Placement Recommendations: a pair stands where a fused kernel ends: behind the
    activation, not before it, and not at the network's outputs."""
    for node in tensorrt_file.of("Conv"):
        assert tensorrt_file.readers(node.output[0]) in (["Relu"], ["Add"], ["QuantizeLinear"])
    for node in tensorrt_file.of("Relu"):
        assert set(tensorrt_file.readers(node.output[0])) == {"QuantizeLinear"}
    for node in tensorrt_file.of("QuantizeLinear"):
        assert tensorrt_file.readers(node.output[0]) == ["DequantizeLinear"]
    assert tensorrt_file.writer(tensorrt_file.graph.output[0].name) == "Gemm"


@pytest.mark.parametrize("choose", [all_layers, some_layers])
def test_float_parts_can_be_half_while_scales_keep_their_precision(
    traced: TracedModel, choose: Any
) -> None:
    """Strongly typed networks compute in what the file says; fp16 cannot hold weights' scales."""
    model = quantised(traced, choose(traced), "qdq-s8s8-residual")
    half = half_model(quantized_bytes(model, SHAPE))
    inferred = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(half), check_type=True, strict_mode=True
    )
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    structure = Structure(half)
    for node in structure.of("Conv"):
        integer = structure.writer(node.input[1]) == "DequantizeLinear"
        wanted = onnx.TensorProto.FLOAT if integer else onnx.TensorProto.FLOAT16
        assert types[node.input[0]] == types[node.output[0]] == wanted
    assert types[inferred.graph.input[0].name] == onnx.TensorProto.FLOAT16
    assert check_quantized(half, model, images()).mean < 0.01


def test_weights_are_stored_as_int8_and_biases_as_int32(traced: TracedModel) -> None:
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    proto = onnx.load_from_string(quantized_bytes(model, SHAPE))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    kinds = Counter(str(array.dtype) for array in stored.values() if array.size > 100)
    assert set(kinds) == {"int8"}
    assert not [
        name for name, array in stored.items() if array.dtype == np.float32 and array.ndim > 1
    ]
    sizes = {name: array.shape for name, array in stored.items() if array.dtype == np.int32}
    assert len(sizes) == 9
    weight = model.integers("down").numpy()
    assert any(array.shape == weight.shape and (array == weight).all() for array in stored.values())


def test_layers_whose_weights_alone_have_bits_stay_float(traced: TracedModel) -> None:
    model = quantised(traced, {"down": Bits(4, 32)}, "qdq-u8s8")
    proto = onnx.load_from_string(quantized_bytes(model, SHAPE))
    assert not {"QuantizeLinear", "DequantizeLinear"} & {n.op_type for n in proto.graph.node}
    assert check_quantized(proto.SerializeToString(), model, images(4)).worst < 1e-4


def test_names_are_not_relied_on(traced: TracedModel) -> None:
    model = quantised(traced, some_layers(traced), "qdq-u8s8")
    proto = onnx.load_from_string(onnx_bytes(model.network, SHAPE))
    ends = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    numbers: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if name in ends or not name else numbers.setdefault(name, f"v{len(numbers)}")

    for tensor in proto.graph.initializer:
        tensor.name = renamed(tensor.name)
    for node in proto.graph.node:
        node.name = ""
        for place, name in enumerate(node.input):
            node.input[place] = renamed(name)
        for place, name in enumerate(node.output):
            node.output[place] = renamed(name)
    del proto.graph.value_info[:]
    recorded = record_plan(model.network, model.plan, SHAPE)
    content = quantized_onnx(proto.SerializeToString(), model, recorded)
    assert check_quantized(content, model, images()).alike >= AGREEMENT


def test_a_file_that_computes_something_else_is_refused(traced: TracedModel) -> None:
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    proto = onnx.load_from_string(quantized_bytes(model, SHAPE))
    scale = next(t for t in proto.graph.initializer if t.name.endswith("weight_scales"))
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * 3, scale.name))
    with pytest.raises(ModelError, match=r"differs from what was simulated: the same class for"):
        check_quantized(proto.SerializeToString(), model, images())


def test_operations_that_the_exporter_lost_are_named(traced: TracedModel) -> None:
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    other = smaller_copy(traced)
    other.load_state_dict(model.network.state_dict())
    with torch.no_grad():
        next(other.get_submodule("down").parameters()).mul_(2.0)
    recorded = record_plan(model.network, model.plan, SHAPE)
    with pytest.raises(ModelError, match="no value where down writes:"):
        quantized_onnx(onnx_bytes(other, SHAPE), model, recorded)


def test_an_exported_file_is_written_whole(traced: TracedModel, tmp_path: Path) -> None:
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    path = tmp_path / "deep" / "model.onnx"
    difference = export_onnx(model, SHAPE, path, images())
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]
    found = check_quantized(path.read_bytes(), model, images())
    assert found.alike >= AGREEMENT
    assert found.mean == difference


def test_a_layer_that_was_left_out_leaves_its_rectification_between_integers() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    chain = trace_network(nn.Sequential(*layers, *tail).eval(), SHAPE)
    made = Compressor(chain, images(), {"0": (5, 8), "2": (5, 8)}, scheme="qdq-u8s8")
    for channels in ({"0": 8, "2": 8}, {"0": 5, "2": 8}):
        policy = Policy(channels, frozenset({"2"}), bits=dict.fromkeys(("0", "6"), INT8))
        model: Any = made.make(policy)
        found = check_quantized(quantized_bytes(model, SHAPE), model, images())
        assert found.alike >= AGREEMENT


class Unread(nn.Module):
    """Computes what it does not give."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.other = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        self.other(x).relu()
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def test_a_network_with_values_that_nobody_reads_can_be_exported() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unread = trace_network(Unread().eval(), SHAPE, resolutions=())
    made = Compressor(unread, images(), {}, scheme="qdq-u8s8")
    model: Any = made.make(Policy(bits=dict.fromkeys(("stem", "other", "head"), INT8)))
    found = check_quantized(quantized_bytes(model, SHAPE), model, images())
    assert found.alike >= AGREEMENT
