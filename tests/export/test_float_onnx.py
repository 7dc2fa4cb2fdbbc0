"""A float network as ONNX, by either exporter."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from automl.errors import ModelError
from automl.export.float_onnx import float_onnx
from automl.export.session import Session

SHAPE = (1, 3, 6, 6)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
def test_the_file_computes_what_the_network_does(thorough: bool) -> None:
    model = network()
    content = float_onnx(model, SHAPE, thorough=thorough)
    graph = onnx.load_from_string(content).graph
    assert [value.name for value in graph.input] == ["input"]
    assert [value.name for value in graph.output] == ["output"]
    example = torch.randn(SHAPE)
    (found,) = Session(content).run(example.numpy())
    np.testing.assert_allclose(found, model(example).detach().numpy(), atol=1e-5)


def test_the_exporters_log_is_as_it_was() -> None:
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    float_onnx(network(), SHAPE)
    with pytest.raises(ModelError):
        float_onnx(nn.Linear(4, 4), SHAPE)
    assert logger.level == before


def test_a_refusal_is_one_line() -> None:
    class Eigenvalues(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvals(x.mean((0, 1))).real

    with pytest.raises(ModelError, match=r"^the model cannot be exported to ONNX: .+") as caught:
        float_onnx(Eigenvalues(), SHAPE)
    assert "\n" not in str(caught.value)
