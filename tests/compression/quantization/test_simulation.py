"""Simulated integer networks: what is rounded, where, and onto which grid."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from compressed import images_for, outputs_of
from small import MAP, Plain, Shortcuts, seeded
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.compressor import Compressor
from automl.compression.quantization.activation_ranges import ActivationQParams
from automl.compression.quantization.qparams import QParams, highest
from automl.compression.quantization.simulation import (
    SCHEMES,
    QuantizedModel,
    fake_quantize,
    stored_bits,
)
from automl.errors import QuantizationError
from automl.export.session import Session
from automl.network.precision import NETWORK_INPUT, Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits, Policy

INT8 = Bits(8, 8)


def quantised(
    traced: TracedModel, scheme: str | None, bits: Bits = INT8, layers: tuple[str, ...] = ()
) -> QuantizedModel:
    images = images_for(traced.network.input_shape, 24)
    chosen = layers or Flow(traced.trace).layers
    made = Compressor(traced, images, {}, scheme=scheme).make(
        Policy(bits=dict.fromkeys(chosen, bits))
    )
    assert isinstance(made, QuantizedModel)
    return made


@pytest.fixture(scope="module")
def plain() -> TracedModel:
    return trace_network(seeded(Plain), MAP, resolutions=())


@pytest.fixture(scope="module")
def shortcuts() -> TracedModel:
    return trace_network(seeded(Shortcuts), MAP, resolutions=())


def test_an_integer_layer_in_a_float_network_by_hand(plain: TracedModel) -> None:
    made = quantised(plain, "qdq-u8s8", layers=("first",))
    x, net = images_for(MAP, 5, seed=3), cast(Any, made.network)
    given, written = made.qparams[NETWORK_INPUT, 8], made.qparams[("", 0), 8]
    with torch.no_grad():
        y = fake_quantize(F.relu(net.first(fake_quantize(x, given))), written)
        expected = net.head(torch.sigmoid(net.second(y)).mean((2, 3)))
    assert set(made.qparams) == {(NETWORK_INPUT, 8), (("", 0), 8)}
    assert written.zero_point == 0  # after a ReLU
    assert given.zero_point > 0
    assert torch.equal(made(x), expected)


def test_simulators_round_what_layers_read_and_sign_what_is_negative(plain: TracedModel) -> None:
    made = quantised(plain, None, Bits(6, 5))
    assert not made.plan.rounding.outputs
    given, hidden = made.qparams[NETWORK_INPUT, 5], made.qparams[("", 0), 5]
    assert (given.low, given.high, given.zero_point) == (-16, 15, 0)
    assert (hidden.low, hidden.high, hidden.zero_point) == (0, 31, 0)
    x, net = images_for(MAP, 5, seed=3), cast(Any, made.network)
    with torch.no_grad():
        y = fake_quantize(F.relu(net.first(fake_quantize(x, given))), hidden)
        y = torch.sigmoid(net.second(y)).mean((2, 3))
        pooled = made.plan.inputs["head", 0][0]
        assert pooled is not None
        expected = net.head(fake_quantize(y, made.qparams[pooled]))
    assert torch.equal(made(x), expected)


def test_the_convolution_before_an_addition_hands_on_unrounded_on_tensorrt(
    shortcuts: TracedModel,
) -> None:
    plain, residual = (quantised(shortcuts, f"qdq-s8s8{end}") for end in ("", "-residual"))
    outer = ("same.outer", 0)
    assert outer in plain.plan.rounding.outputs
    assert outer not in residual.plan.rounding.outputs
    assert all(qparams.zero_point == 0 for qparams in residual.qparams.values())
    net, x = cast(Any, residual.network), images_for(MAP, 5, seed=3)
    block = net.same
    rounded = {source[0]: qparams for source, qparams in residual.qparams.items()}
    with torch.no_grad():
        stem = fake_quantize(
            F.relu(net.stem(fake_quantize(x, rounded[NETWORK_INPUT]))), rounded["", 0]
        )
        inner = fake_quantize(F.relu(block.inner(stem)), rounded["same", 0])
        expected = fake_quantize(F.relu(block.outer(inner) + stem), rounded["same", 2])
    found: list[Tensor] = []
    handle = block.register_forward_hook(lambda _, __, output: found.append(output))
    residual(x)
    handle.remove()
    assert torch.equal(found[0], expected)


class Inside(nn.Module):
    """ReLUs and additions that write into what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        y = self.second(x)
        y += x
        scores: Tensor = self.head(self.relu(y).mean((2, 3)))
        return scores


class Outside(Inside):
    """The same, written anew."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        scores: Tensor = self.head(F.relu(self.second(x) + x).mean((2, 3)))
        return scores


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_computed_in_place_is_rounded_the_same(scheme: str | None) -> None:
    inside, outside = (
        trace_network(seeded(each), MAP, resolutions=()) for each in (Inside, Outside)
    )
    found, expected = (quantised(each, scheme) for each in (inside, outside))
    x = images_for(MAP, 5, seed=3)
    given = x.clone()
    torch.testing.assert_close(found(x), expected(x))
    assert torch.equal(x, given)


def test_integers_times_scales_are_the_weights(shortcuts: TracedModel) -> None:
    made = quantised(shortcuts, "qdq-s8s8", Bits(4, 8))
    for name, qparams in made.weights.items():
        weight = made.network.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        assert isinstance(qparams, QParams)
        integers = made.integers(name)
        assert integers.abs().max() <= 7
        shape = (-1, *[1] * (weight.dim() - 1))
        assert torch.equal(integers.float() * made.scales(name).view(shape), weight)


def test_copies_pickles_and_state_dicts_compute_the_same(plain: TracedModel) -> None:
    x = images_for(MAP, 5, seed=3)
    for bits in (INT8, Bits(3, 32)):
        made, other = quantised(plain, "qdq-u8s8", bits), quantised(plain, "qdq-u8s8", bits)
        expected, buffer = made(x), io.BytesIO()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1.0)
        other.qparams = {source: ActivationQParams(1.0, 0, 0, 1) for source in other.qparams}
        torch.save(made.state_dict(), buffer)
        buffer.seek(0)
        other.load_state_dict(torch.load(buffer, weights_only=True))
        for each in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), other):
            assert torch.equal(each(x), expected)
        assert other.qparams == made.qparams


@pytest.mark.parametrize(
    "qparams", [ActivationQParams(0.037, 113, 0, 255), ActivationQParams(0.05, 0, -128, 127)]
)
def test_values_are_rounded_as_onnx_rounds(qparams: ActivationQParams) -> None:
    values = torch.cat(
        [torch.linspace(-9, 9, 4001), (torch.arange(-300, 300) + 0.5) * qparams.scale]
    )
    kind = np.uint8 if qparams.low == 0 else np.int8
    scale, zero = np.float32(qparams.scale), kind(qparams.zero_point)
    pair = onnx.helper.make_graph(
        [
            onnx.helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            onnx.helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        "pair",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [len(values)])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [len(values)])],
        [
            onnx.numpy_helper.from_array(np.array(scale), "scale"),
            onnx.numpy_helper.from_array(np.array(zero), "zero"),
        ],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(pair, opset_imports=opset, ir_version=8)
    (found,) = Session(model.SerializeToString()).run(values.numpy())
    assert torch.equal(fake_quantize(values, qparams), torch.from_numpy(found))


def test_constant_and_undefined_activations_are_named_with_the_layer(plain: TracedModel) -> None:
    images = images_for(MAP, 6)
    policy = Policy(bits={"second": INT8})
    for broken, what in ((torch.zeros(6, *MAP[1:]), "constant"), (images / 0, "infinite|NaN")):
        made = Compressor(plain, images.clone(), {}, scheme="qdq-u8s8")
        made.features(0)
        made.images.copy_(broken)
        with pytest.raises(QuantizationError, match=rf"^first: .*({what}) activations"):
            made.make(Policy(bits={"first": INT8}))
    dead: Any = seeded(Plain)
    with torch.no_grad():
        dead.first.bias.fill_(-100.0)
    traced = trace_network(dead, MAP, resolutions=())
    made = Compressor(traced, images, {}, scheme="qdq-u8s8")
    with pytest.raises(QuantizationError, match=r"^second: constant activations \(0\)"):
        made.make(policy)


def test_forms_and_layers_that_do_not_exist_are_named(plain: TracedModel) -> None:
    images = images_for(MAP, 4)
    with pytest.raises(QuantizationError, match=r"no layer 'secnd' to quantise .*mean second"):
        Compressor(plain, images, {}).make(Policy(bits={"secnd": INT8}))
    with pytest.raises(
        QuantizationError, match=r"no quantization scheme 'qdq-u8s9'.*did you mean qdq-u8s"
    ):
        Compressor(plain, images, {}, scheme="qdq-u8s9").make(Policy(bits={"second": INT8}))


def test_sixteen_bits_are_float(plain: TracedModel) -> None:
    policy = Policy(bits={"second": Bits(16, 16), "first": Bits()})
    made = Compressor(plain, images_for(MAP, 4), {}, scheme="qdq-u8s8").make(policy)
    assert not isinstance(made, QuantizedModel)
    x = images_for(MAP, 4)
    assert torch.equal(outputs_of(made, x), outputs_of(plain.model, x))


def test_two_products_of_seven_bits_fit_into_sixteen() -> None:
    assert stored_bits(Bits(8, 8), "qdq-u8s7") == Bits(7, 8)
    assert 2 * 255 * highest(7) <= 2**15 - 1 < 2 * 255 * highest(8)
    for kept in (Bits(4, 8), Bits(8, 32), Bits(32, 32)):  # few bits, and what computes in float
        assert stored_bits(kept, "qdq-u8s7") == kept
    for scheme in ("qdq-u8s8", "qdq-u8u8", "qdq-s8s8", None):
        assert stored_bits(Bits(8, 8), scheme) == Bits(8, 8)


def saturating(integers: Tensor) -> Tensor:
    """Sums over columns of the largest activations times weights, two at a time in 16 bits."""
    products = 255 * integers.flatten(1).to(torch.int64)
    if products.shape[1] % 2:
        products = F.pad(products, (0, 1))
    pairs = products.view(len(products), -1, 2).sum(2)
    return pairs.clamp(-(2**15), 2**15 - 1).sum(1)


@pytest.mark.parametrize("finish", [True, False])
def test_sums_of_a_scheme_for_saturating_kernels_are_exact(
    plain: TracedModel, finish: bool
) -> None:
    """Both arithmetics on any machine: one is computed here."""
    images = images_for(plain.network.input_shape, 24)
    policy = Policy(bits=dict.fromkeys(Flow(plain.trace).layers, INT8))
    differ = {}
    for scheme in ("qdq-u8s8", "qdq-u8s7"):
        made = Compressor(plain, images, {}, scheme=scheme).make(policy, finish=finish)
        assert isinstance(made, QuantizedModel)
        stored = [made.integers(layer) for layer in made.weights]
        exact = [255 * each.flatten(1).to(torch.int64).sum(1) for each in stored]
        pairs = zip(stored, exact, strict=True)
        differ[scheme] = any(not saturating(each).equal(sums) for each, sums in pairs)
        largest = max(int(each.abs().max()) for each in stored)
        assert largest == (63 if scheme == "qdq-u8s7" else 127)
    assert differ == {"qdq-u8s8": True, "qdq-u8s7": False}
