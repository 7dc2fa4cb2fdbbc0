"""Integer networks whose QParams come from one pass over a random input: made for measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from automl.compression import (
    SCHEMES,
    ActivationQParams,
    Plan,
    QParams,
    QuantizedModel,
    Source,
    highest,
    is_per_tensor,
    make_plan,
    matrix,
)
from automl.errors import QuantizationError, nearest
from automl.export.float_onnx import float_onnx
from automl.export.matching import RecordedValues, Value
from automl.export.qdq import quantized_onnx, record_plan
from automl.export.session import Session, fed
from automl.network import FLOAT_BITS, Flow, example_of
from automl.policy import Bits


def computes_integers(bits: Bits) -> bool:
    """Whether a layer with these bits computes in integers: not where weights alone are rounded."""
    return bits.activations < FLOAT_BITS


def uncalibrated_onnx(
    network: nn.Module,
    flow: Flow,
    bits: Mapping[str, Bits],
    scheme: str,
    input_shape: Sequence[int],
    exported: bytes | None = None,
) -> bytes:
    """The integer network of a policy's bits as ONNX, batch 1: of the right operators and shapes.

    Quick, as nothing is calibrated. What it computes is of no use.

    Args:
        network: Float, already cut to the policy's channels and blocks.
        flow: Of the dense network without the policy's removed blocks.
        bits: Per layer; float where not named, and where only weights have fewer bits.
        scheme: Of the target's table.
        input_shape: Of one input, batch 1 first.
        exported: Its file of floats where that was made before; None makes one.

    Raises:
        ModelError: The network cannot be exported.
        QuantizationError: A layer whose bits cannot be chosen.
    """
    integers = {name: each for name, each in bits.items() if computes_integers(each)}
    for name in integers:
        if name not in flow.layers:
            raise QuantizationError(
                f"no layer {name!r} whose bits can be chosen{nearest(name, flow.layers)}"
            )
    plan = make_plan(flow, integers, scheme)
    recorded = record_plan(network, plan, input_shape)
    shared = is_per_tensor(scheme)
    weights = {name: _weight_qparams(network.get_submodule(name), shared) for name in integers}
    qparams = _qparams(plan, recorded, bool(SCHEMES[scheme][1]))
    model = QuantizedModel(network, plan, qparams, weights)
    content = exported or float_onnx(network, input_shape)
    return quantized_onnx(content, model, recorded)


def check_integers(
    network: nn.Module, flow: Flow, scheme: str, input_shape: Sequence[int], exported: bytes
) -> None:
    """Make the integer network with all layers at 8 bits, and run it once.

    Args:
        network, flow, scheme, input_shape, exported: As for `uncalibrated_onnx`.

    Raises:
        ModelError: It cannot be made, or does not run.
    """
    bits = dict.fromkeys(flow.layers, Bits(8, 8))
    content = uncalibrated_onnx(network, flow, bits, scheme, input_shape, exported)
    Session(content).run(fed(network, example_of(network, input_shape)))


def _weight_qparams(layer: nn.Module, shared: bool) -> QParams:
    largest = matrix(layer).abs().amax(2, keepdim=True)
    largest = largest.amax().expand_as(largest) if shared else largest
    return QParams((largest / highest(8)).clamp_min(1e-12), 8)


def _qparams(plan: Plan, recorded: RecordedValues, signed: bool) -> dict[Source, ActivationQParams]:
    """QParams that span the recorded values."""
    values: dict[Source, Value] = {}
    for address, sources in plan.inputs.items():
        for source, value in zip(sources, recorded.inputs[address], strict=True):
            if source is not None:
                values.setdefault(source, value)
    for address, bits in plan.rounding.outputs.items():
        values[address, bits] = recorded.outputs[address]
    return {source: _span(value, signed) for source, value in values.items()}


def _span(values: Value, signed: bool) -> ActivationQParams:
    low, high = min(values.low, 0.0), max(values.high, 0.0)
    if signed:
        scale = float(np.float32(max(high, -low) / 127 or 1.0))
        return ActivationQParams(scale, 0, -128, 127)
    scale = float(np.float32((high - low) / 255 or 1.0))
    return ActivationQParams(scale, round(-low / scale), 0, 255)
