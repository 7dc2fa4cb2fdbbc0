"""ONNX files are believed only when they compute what the model does."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from automl.errors import ModelError
from automl.export.onnx import HALF_TOLERANCE, TOLERANCE, check_onnx, export_onnx, onnx_bytes

SHAPE = (1, 3, 8, 8)


class Two(nn.Module):
    """Two outputs; the second can be wrong alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.maps, self.head = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Conv2d(6, 2, 1),
            nn.Linear(6, 4),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.conv(x))
        return self.head(x.mean((2, 3))), self.maps(x)


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Two().eval().requires_grad_(False)


def with_weight(content: bytes, name: str, change: float) -> bytes:
    """The file with one number of a weight changed."""
    proto = onnx.load_from_string(content)
    weight = next(each for each in proto.graph.initializer if each.name == name)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += change
    weight.CopyFrom(numpy_helper.from_array(values, name))
    return proto.SerializeToString()


def test_a_model_is_exported_whole_and_computes_the_same(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.onnx"
    difference = export_onnx(model(), SHAPE, path)
    assert difference <= TOLERANCE
    assert check_onnx(path.read_bytes(), model(), SHAPE) == difference
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]


def test_a_model_can_be_exported_in_half_precision(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    difference = export_onnx(model(), SHAPE, path, half=True)
    assert 0 < difference <= HALF_TOLERANCE
    graph = onnx.load(path).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16


@pytest.mark.parametrize("weight", ["head.weight", "maps.weight"])
def test_a_file_that_computes_something_else_is_refused(weight: str) -> None:
    content = onnx_bytes(model(), SHAPE)
    assert check_onnx(content, model(), SHAPE) <= TOLERANCE
    with pytest.raises(ModelError, match="differs from the PyTorch model"):
        check_onnx(with_weight(content, weight, 0.5), model(), SHAPE)


def test_a_refused_export_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = with_weight(onnx_bytes(model(), SHAPE), "head.weight", 0.5)
    monkeypatch.setattr("automl.export.onnx.onnx_bytes", lambda *_, **__: wrong)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(ModelError):
        export_onnx(model(), SHAPE, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_that_are_not_numbers_are_refused() -> None:
    wrong = with_weight(onnx_bytes(model(), SHAPE), "head.weight", float("nan"))
    with pytest.raises(ModelError, match="differs"):
        check_onnx(wrong, model(), SHAPE)


def test_a_file_that_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match="ONNX Runtime refuses the exported model"):
        check_onnx(b"not a model", model(), SHAPE)


def test_outputs_of_other_shapes_are_refused() -> None:
    with pytest.raises(ModelError, match="other shapes"):
        check_onnx(onnx_bytes(model(), SHAPE), model().get_submodule("conv"), SHAPE)


class Unexportable(nn.Module):
    """Asks for its input's values."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x.mean((0, 1))).real


def test_a_model_that_cannot_be_exported_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be exported to ONNX"):
        onnx_bytes(Unexportable(), SHAPE)
