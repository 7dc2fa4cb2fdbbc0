"""Activation ranges against brute force and ONNX Runtime's arithmetic, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from automl.compression.quantization.activation_ranges import (
    CAPACITY,
    ActivationQParams,
    Observer,
    fake,
    range_of,
)
from automl.errors import QuantizationError
from automl.export.session import Session


def values_of(kind: str, count: int = 20_000, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, generator=generator)
    return {
        "relu": normal.clamp_min(0),
        "both": normal,
        "swish": torch.nn.functional.hardswish(3 * normal),
        "positive": normal.abs() + 2,
        "negative": -normal.abs() - 2,
        "outlier": torch.cat([normal, torch.tensor([40.0])]),
    }[kind]


def seen(values: Tensor, name: str = "layer") -> Observer:
    observer = Observer(name)
    for part in values.split(3_000):
        observer.add(part)
    return observer


KINDS = ("relu", "both", "swish", "positive", "negative", "outlier")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("how", ["mse", "percentile", "max"])
@pytest.mark.parametrize("kind", KINDS)
def test_zero_is_exact_and_the_levels_are_legal(kind: str, how: str, signed: bool) -> None:
    qparams = range_of(seen(values_of(kind)), 8, signed=signed, how=how)  # type: ignore[arg-type]
    assert (qparams.low, qparams.high) == ((-128, 127) if signed else (0, 255))
    assert qparams.low <= qparams.zero_point <= qparams.high
    assert qparams.scale == float(np.float32(qparams.scale)) > 0
    if signed:
        assert qparams.zero_point == 0
    assert float(fake(torch.zeros(1), qparams)) == 0.0


@pytest.mark.parametrize("steps", [200, 251, 254])
@pytest.mark.parametrize("end", [6, -6])
def test_no_range_goes_beyond_a_clip(steps: int, end: int) -> None:
    clipped = end * torch.arange(2 * steps).clamp_max(steps) / steps  # its levels would fit better
    found = range_of(seen(clipped), 8, signed=False, how="mse")
    last = found.high if end > 0 else found.low
    reached = round(end / found.scale) + found.zero_point
    assert (reached - last) * end >= 0  # a clip to 6 does what the integers' end does


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_mse_is_nearly_the_least_of_all_ranges(kind: str, signed: bool) -> None:
    values = values_of(kind, 4_000)

    def error(qparams: ActivationQParams) -> float:
        return float((fake(values, qparams) - values).double().square().mean())

    found = error(range_of(seen(values), 4, signed=signed))
    least = float("inf")
    highest = float(values.abs().max())
    for scale in torch.linspace(highest / 1000, highest / 5, 400).tolist():
        for zero in (0,) if signed else range(16):
            low, high = (-8, 7) if signed else (0, 15)
            least = min(least, error(ActivationQParams(scale, zero, low, high)))
    assert found <= 1.15 * least
    assert found <= error(range_of(seen(values), 4, signed=signed, how="max")) * 1.001


def test_the_error_falls_with_bits() -> None:
    values = values_of("swish")
    errors = []
    for bits in range(2, 9):
        qparams = range_of(seen(values), bits, signed=False)
        errors.append(float((fake(values, qparams) - values).square().mean()))
    assert all(after < before for before, after in itertools.pairwise(errors))


def test_outliers_are_clipped_but_by_max() -> None:
    observer = seen(values_of("outlier"))
    top = {}
    for how in ("mse", "percentile", "max"):
        qparams = range_of(observer, 4, signed=True, how=how)  # type: ignore[arg-type]
        top[how] = qparams.scale * qparams.high
    assert top["max"] == pytest.approx(40.0)
    assert top["mse"] < 4
    assert top["percentile"] < 5


def test_rounding_is_that_of_onnx_runtime() -> None:
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    values = values_of("swish", 5_000)
    for signed in (False, True):
        qparams = range_of(seen(values), 8, signed=signed)
        kind = TensorProto.INT8 if signed else TensorProto.UINT8
        graph = helper.make_graph(
            [
                helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
            ],
            "rounding",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
            [
                helper.make_tensor("s", TensorProto.FLOAT, [], [qparams.scale]),
                helper.make_tensor("z", kind, [], [qparams.zero_point]),
            ],
        )
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        (found,) = Session(model.SerializeToString()).run((values * 1.5).numpy())
        gap = np.abs(found - fake(values * 1.5, qparams).numpy())
        assert np.mean(gap > qparams.scale / 2) < 1e-3  # a reciprocal decides ties: see `fake`


def test_the_sample_is_bounded_fair_and_the_same_each_time() -> None:
    def run() -> Observer:
        observer = Observer("layer", seed=4)
        generator = torch.Generator().manual_seed(0)
        for step in range(40):
            observer.add(torch.randn(10_000, generator=generator) + step / 40)
        observer.add(torch.rand(4 * CAPACITY, generator=generator) + 5)
        return observer

    first, second = run().sample(), run().sample()
    assert torch.equal(first, second)
    assert CAPACITY // 8 < len(first) <= CAPACITY + 2
    share = float((first > 5).double().mean())
    assert share == pytest.approx(4 * CAPACITY / (4 * CAPACITY + 400_000), abs=0.02)


def test_the_largest_value_is_never_lost() -> None:
    observer = Observer("layer")
    values = torch.zeros(50, 10_000)
    values[17, 17] = 9.0
    for part in values:
        observer.add(part)
    qparams = range_of(observer, 8, signed=False, how="max")
    assert qparams.scale * 255 == pytest.approx(9.0)
    assert range_of(observer, 8, signed=False, how="percentile").scale > 0


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_constant_activations_are_refused_by_name(value: float) -> None:
    with pytest.raises(QuantizationError, match=r"^stem\.conv: constant activations \(.*\)"):
        range_of(seen(torch.full((50,), value), "stem.conv"), 8, signed=True)


@pytest.mark.parametrize(("value", "word"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
def test_activations_that_are_not_finite_are_refused_by_name(value: float, word: str) -> None:
    observer = Observer("stem.conv")
    with pytest.raises(QuantizationError, match=rf"stem\.conv: {word} activations"):
        observer.add(torch.tensor([1.0, value]))


@pytest.mark.parametrize("pair", [(0.0, 1e-43), (-3e38, 3e38)])
def test_ranges_that_float32_cannot_hold_are_refused_by_name(pair: tuple[float, float]) -> None:
    with pytest.raises(QuantizationError, match=r"stem: activations from .* float32 cannot hold"):
        range_of(seen(torch.tensor(pair), "stem"), 8, signed=False)


def test_a_layer_that_nothing_reaches_is_refused_by_name() -> None:
    with pytest.raises(QuantizationError, match="stem: the calibration inputs never reach it"):
        range_of(Observer("stem"), 8, signed=False)
