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
from automl.export.session import Session, fed
from automl.network.input_form import form_of, taking_rows
from automl.network.outputs import output_tensors

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


class Nested(nn.Module):
    """Gives a nest with a constant in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network()

    def forward(self, x: Tensor) -> dict[str, object]:
        found = self.layers(x)
        return {"logits": found, "parts": (found * 2.0, found + 1.0), "classes": 5}


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
def test_outputs_of_a_nest_and_weights_have_the_models_names(thorough: bool) -> None:
    model, example = Nested().eval(), torch.randn(SHAPE)
    content = float_onnx(model, SHAPE, thorough=thorough)
    graph = onnx.load_from_string(content).graph
    assert [value.name for value in graph.output] == ["logits", "parts.0", "parts.1"]
    assert {"layers.0.weight", "layers.3.bias"} <= {each.name for each in graph.initializer}
    found = Session(content).run(example.numpy())
    with torch.no_grad():
        for each, expected in zip(found, output_tensors(model(example)), strict=True):
            np.testing.assert_allclose(each, expected, atol=1e-5)


class TakesTwo(nn.Module):
    """Takes a picture and whole numbers, in one mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.words = network(), nn.Embedding(7, 5)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.layers(batch["x"]) + self.words(batch["ids"]).sum(1)


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
def test_inputs_of_a_nest_are_the_files_inputs(thorough: bool) -> None:
    nest = {"x": torch.randn(1, 3, 6, 6), "ids": torch.randint(7, (1, 4))}
    form = form_of(nest)
    rows = form.pack(nest)
    model = taking_rows(TakesTwo().eval(), form, "one", rows, copies=False)
    content = float_onnx(model, rows.shape, thorough=thorough)
    graph = onnx.load_from_string(content).graph
    assert [value.name for value in graph.input] == ["x", "ids"]
    (found,) = Session(content).run(fed(model, rows))
    with torch.no_grad():
        np.testing.assert_allclose(found, model(nest), atol=1e-5)


class TakesAndGives(TakesTwo):
    """Takes a nest and gives one, through a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": self.norm(super().forward(batch))}


class Detecting(Nested):
    """As detectors do, gives other things in training than in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> object:
        found = self.norm(self.layers(x))
        return found if self.training else (found.sigmoid(), [found])


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
@pytest.mark.parametrize("takes", [False, True], ids=["one", "a nest"])
def test_the_model_is_in_evaluation_mode_behind_an_export(takes: bool, thorough: bool) -> None:
    model: nn.Module = TakesAndGives().eval() if takes else Detecting().eval()
    rows = torch.randn(SHAPE)
    if takes:
        nest = {"x": torch.randn(1, 3, 6, 6), "ids": torch.randint(7, (1, 4))}
        form = form_of(nest)
        rows = form.pack(nest)
        model = taking_rows(model, form, "one", rows, copies=False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    float_onnx(model, rows.shape, thorough=thorough)
    assert not [name for name, module in model.named_modules() if module.training]
    torch.testing.assert_close(dict(model.state_dict()), state)
