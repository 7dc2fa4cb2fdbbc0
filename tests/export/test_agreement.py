"""A file that computes something else is refused, and the layer where it begins to is named."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from automl.errors import ModelError
from automl.export import agreement
from automl.export.agreement import check_quantized, parting
from automl.export.qdq import quantized_bytes
from automl.export.session import Feed, Session
from automl.network.traced_model import TracedModel
from quantised import SHAPE, all_layers, images, quantised, traced

__all__ = ["traced"]


def scaled(content: bytes, weight: NDArray[np.int8]) -> bytes:
    """The file with the layer of these integer weights made three times as large."""
    proto = onnx.load_from_string(content)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        found = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if found is not None and np.array_equal(numpy_helper.to_array(found), weight):
            scale = stored[node.input[1]]
            array = numpy_helper.to_array(scale) * np.float32(3)
            scale.CopyFrom(numpy_helper.from_array(array, scale.name))
            return bytes(proto.SerializeToString())
    raise AssertionError("no such weights")


@pytest.mark.parametrize("layer", ["stem", "down", "two", "hidden"])
@pytest.mark.parametrize("scheme", ["qdq-u8s8", "qdq-s8s8"])
def test_the_layer_where_they_part_first_is_named(
    traced: TracedModel, layer: str, scheme: str
) -> None:
    model = quantised(traced, all_layers(traced), scheme)
    changed = scaled(quantized_bytes(model, SHAPE), model.integers(layer).numpy())
    with pytest.raises(ModelError, match=rf"they part first at {layer}: \d"):
        check_quantized(changed, model, images())


def test_files_that_agree_part_nowhere(traced: TracedModel) -> None:
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    said = parting(quantized_bytes(model, SHAPE), model, images(1))
    assert said == "; what its layers write is alike but for the last"


def test_files_for_here_are_held_to_this_machines_arithmetic(
    traced: TracedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that saturate, made up, disturb what runs here and not what runs elsewhere."""

    class Saturating(Session):
        def __init__(self, content: bytes, *, exact: bool = True) -> None:
            super().__init__(content, exact=exact)
            self.exact = exact

        def run(self, inputs: Feed) -> list[NDArray[np.float32]]:
            return [output if self.exact else output[:, ::-1] for output in super().run(inputs)]

    monkeypatch.setattr(agreement, "Session", Saturating)
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    content = quantized_bytes(model, SHAPE)
    check_quantized(content, model, images())
    with pytest.raises(ModelError, match="differs from what was simulated"):
        check_quantized(content, model, images(), exact=False)


def test_infinite_outputs_are_refused(traced: TracedModel) -> None:
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    content = quantized_bytes(model, SHAPE)
    with torch.no_grad():
        head = next(iter(model.network.get_submodule("head").parameters()))
        head[0, 0] = torch.nan
    with pytest.raises(ModelError, match="differs from what was simulated"):
        check_quantized(content, model, images(8))


@pytest.mark.parametrize("scheme", ["qdq-u8s7", "qdq-u8u8"])
def test_schemes_for_saturating_kernels_hold_in_any_arithmetic(
    traced: TracedModel, scheme: str
) -> None:
    """`make test-arch` runs this where pairs of products saturate."""
    model = quantised(traced, all_layers(traced), scheme)
    found = check_quantized(quantized_bytes(model, SHAPE), model, images(), exact=False)
    assert found.alike >= agreement.AGREEMENT
    assert found.mean < 0.004
