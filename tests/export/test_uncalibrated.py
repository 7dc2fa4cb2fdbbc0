"""Integer networks made for their time alone: of the right operators, whatever they compute."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from automl.errors import ModelError, QuantizationError
from automl.export.float_onnx import float_onnx
from automl.export.session import Session
from automl.export.uncalibrated import (
    check_integers,
    computes_integers,
    uncalibrated_onnx,
)
from automl.network.precision import FLOAT_BITS, Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits

SHAPE = (1, 3, 8, 8)
INT8 = Bits(8, 8)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head((torch.relu(self.inner(x)) + x).mean((2, 3)))


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    torch.manual_seed(0)
    return trace_network(Small().eval(), SHAPE, resolutions=())


def made(traced: TracedModel, scheme: str, **bits: Bits) -> onnx.ModelProto:
    content = uncalibrated_onnx(traced.model, Flow(traced.trace), bits, scheme, SHAPE)
    (scores,) = Session(content).run(np.zeros(SHAPE, np.float32))
    assert scores.shape == (1, 4)
    return onnx.load_from_string(content)


def integer_weights(model: onnx.ModelProto) -> list[tuple[int, ...]]:
    return sorted(
        tuple(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    )


@pytest.mark.parametrize("scheme", ["qdq-u8s8", "qdq-s8s8", "qdq-s8s8-tensor", "qdq-s8s8-residual"])
def test_layers_with_integer_bits_have_integer_weights(traced: TracedModel, scheme: str) -> None:
    model = made(traced, scheme, stem=INT8, inner=INT8)
    assert integer_weights(model) == [(8, 3, 3, 3), (8, 8, 3, 3)]
    kinds = {
        str(numpy_helper.to_array(tensor).dtype)
        for tensor in model.graph.initializer
        if tensor.name in {n.input[2] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    }
    assert kinds == {"uint8" if scheme == "qdq-u8s8" else "int8"}


def test_what_computes_in_float_stays_as_it_was(traced: TracedModel) -> None:
    model = made(traced, "qdq-u8s8", inner=INT8, stem=Bits(4, FLOAT_BITS))
    assert integer_weights(model) == [(8, 8, 3, 3)]
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators["QuantizeLinear"] > 0
    assert operators["Conv"] == 2


def test_only_rounded_activations_are_integers() -> None:
    assert computes_integers(INT8)
    assert computes_integers(Bits(2, 6))
    assert not computes_integers(Bits(4, FLOAT_BITS))


def test_a_layer_whose_bits_cannot_be_chosen_is_refused(traced: TracedModel) -> None:
    with pytest.raises(QuantizationError, match=r"'steam'.*did you mean stem"):
        made(traced, "qdq-u8s8", steam=INT8)


class Logarithms(Small):
    """Takes inputs above 0 alone."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.log())


class Twins(Small):
    """Two layers of the same weights: their file computes one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.load_state_dict(self.inner.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head((self.inner(x) + self.other(x)).mean((2, 3)))


def test_all_layers_at_8_bits_are_made_and_run_before_a_search() -> None:
    torch.manual_seed(0)
    for model, why in ((Small(), ""), (Logarithms(), ""), (Twins(), "no value where other writes")):
        traced = trace_network(model.eval(), SHAPE, resolutions=())
        exported = float_onnx(traced.model, SHAPE, thorough=True)
        given = (traced.model, Flow(traced.trace), "qdq-u8s8", SHAPE, exported)
        if why:
            with pytest.raises(ModelError, match=why):
                check_integers(*given)
        else:
            check_integers(*given)
