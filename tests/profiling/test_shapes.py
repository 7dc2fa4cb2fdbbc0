"""Shapes of values, found on a model without its weights."""

from __future__ import annotations

import tracemalloc

import onnx
import pytest
import torch
from torch import nn

from automl.export.float_onnx import float_onnx
from automl.profiling.shapes import with_shapes


class Reshaped(nn.Module):
    """Its values' shapes depend on small constants, and on the sizes of large ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(100, 300, 3)
        self.linear = nn.Linear(300 * 4, 50)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv(x)).reshape(2, 150, 4).transpose(1, 2)
        found: torch.Tensor = self.linear(y.reshape(1, 300 * 4))
        return found


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
def test_shapes_are_those_that_the_whole_model_has(thorough: bool) -> None:
    model = onnx.load_from_string(float_onnx(Reshaped().eval(), (1, 100, 4, 4), thorough=thorough))
    before = model.SerializeToString()
    found, whole = with_shapes(model), onnx.shape_inference.infer_shapes(model).graph
    values = {each.name: each.type for each in (*whole.value_info, *whole.output)}
    assert values
    assert {each.name: each.type for each in (*found.value_info, *found.output)} == values
    assert model.SerializeToString() == before
    assert len(found.SerializeToString()) < 10_000 < len(before)


def test_weights_are_not_copied() -> None:
    model = onnx.load_from_string(float_onnx(Reshaped().eval(), (1, 100, 4, 4)))
    tracemalloc.start()
    with_shapes(model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000  # onnx serialises what it infers: 1.3 MB whole
