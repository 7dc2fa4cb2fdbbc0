"""What is rectified twice is rectified once in the file."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from automl.export.onnx import onnx_bytes
from automl.export.repeats import without_repeats
from automl.export.session import Session

SHAPE = (1, 3, 6, 6)


def rectifiers(content: bytes) -> list[str]:
    nodes = onnx.load_from_string(content).graph.node
    return [node.op_type for node in nodes if node.op_type in ("Relu", "Clip")]


@pytest.mark.parametrize(
    ("rectify", "left"),
    [
        ((nn.ReLU(), nn.Identity(), nn.ReLU(), nn.ReLU()), ["Relu"]),
        ((nn.ReLU6(), nn.ReLU6()), ["Clip"]),
        ((nn.ReLU(), nn.ReLU6()), ["Relu", "Clip"]),
        ((nn.Hardtanh(0, 4), nn.Hardtanh(0, 2)), ["Clip", "Clip"]),
    ],
)
def test_only_the_first_of_one_kind_stays(rectify: tuple[nn.Module, ...], left: list[str]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), *rectify, nn.Conv2d(4, 2, 1)).eval()
    content = onnx_bytes(model, SHAPE)
    assert rectifiers(content) == left
    example = 9 * torch.randn(SHAPE)
    (found,) = Session(content).run(example.numpy())
    np.testing.assert_allclose(found, model(example).detach().numpy(), atol=1e-5)


def test_a_file_without_any_stays_as_it_is() -> None:
    content = onnx_bytes(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), SHAPE)
    assert without_repeats(content) is content


def test_what_the_network_gives_keeps_its_name() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ReLU()).eval()
    graph = onnx.load_from_string(onnx_bytes(model, SHAPE)).graph
    assert [value.name for value in graph.output] == ["output"]
    assert graph.node[-1].output[0] == "output"


def test_weights_are_not_read_into_lists() -> None:
    content = onnx_bytes(nn.Sequential(nn.Conv2d(100, 1000, 3), nn.ReLU6()).eval(), (1, 100, 4, 4))
    tracemalloc.start()
    assert without_repeats(content) is content
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(content)  # a list of its numbers takes eight times as much
