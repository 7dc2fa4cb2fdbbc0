"""Integer networks in training: they begin as they were, gain, and are exported as trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from automl.compression.quantization.codebook import codebook
from automl.compression.quantization.simulation import SCHEMES, QuantizedModel
from automl.errors import UsageError
from automl.export.agreement import AGREEMENT
from automl.export.onnx import export_onnx
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.quantised import QuantizedStudent
from automl.recovery.quantizers.lsq import LearnedSteps
from automl.recovery.recipe import RecoveryRecipe
from quantised import INT8, SHAPE, Net, all_layers, images, quantised, traced

__all__ = ["traced"]


@pytest.fixture(scope="module")
def sharp() -> TracedModel:
    """With outputs that are large enough to be told apart."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        network = Net().eval()
        network.head.weight.mul_(30)
        return trace_network(network, SHAPE, resolutions=())


def student_of(model: QuantizedModel) -> QuantizedStudent:
    return QuantizedStudent(model, LearnedSteps(), images(8))


def trained(student: nn.Module, teacher: nn.Module, epochs: int = 8) -> tuple[float, ...]:
    data: list[tuple[Tensor, Tensor | None]] = [(each, None) for each in images(64).split(16)]
    recipe = RecoveryRecipe(epochs=epochs)
    objective = Objective(student, (teacher,), recipe.made_terms())
    return recover(objective, RecoveryData(data), recipe).losses


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_begins_as_it_was_and_everything_has_a_gradient(
    traced: TracedModel, scheme: str | None
) -> None:
    model = quantised(traced, all_layers(traced, INT8 if scheme else Bits(4, 4)), scheme)
    student, inputs = student_of(model), images(8)
    found = student.requires_grad_(True)(inputs)
    torch.testing.assert_close(found.detach(), model(inputs))
    assert torch.equal(student.frozen()(inputs), model(inputs))
    found.square().sum().backward()
    assert all(each.grad is not None for each in student.parameters())


@pytest.mark.parametrize("bits", [Bits(4, 4), Bits(2, 4), Bits(1, 4)])
def test_low_bits_gain_and_what_is_frozen_is_what_was_trained(
    sharp: TracedModel, bits: Bits
) -> None:
    model = quantised(sharp, all_layers(sharp, bits), None)
    student = student_of(model)
    losses = trained(student, sharp.model)
    assert losses[-1] < 0.8 * losses[0]
    frozen, inputs = student.frozen(), images(16)
    torch.testing.assert_close(frozen(inputs), student(inputs).detach())
    steps = [(frozen.qparams[source], each) for source, each in model.qparams.items()]
    assert any(new.scale != old.scale for new, old in steps)
    assert all(new.zero_point == old.zero_point for new, old in steps)


def test_codebooks_are_not_trained(traced: TracedModel) -> None:
    model = quantised(traced, all_layers(traced), "qdq-u8s8")
    model.weights["stem"] = codebook(torch.ones(1, 16, 27), 2)
    with pytest.raises(UsageError, match="stem has bits of weights alone"):
        student_of(model)


@pytest.mark.parametrize("scheme", ["qdq-u8s8", "qdq-s8s8-tensor"])
def test_the_file_computes_what_was_trained(
    traced: TracedModel, scheme: str, tmp_path: Path
) -> None:
    student = student_of(quantised(traced, all_layers(traced, INT8), scheme))
    trained(student, traced.model, 2)
    frozen, inputs = student.frozen(), images(32)
    assert export_onnx(frozen, SHAPE, tmp_path / "net.onnx", inputs) <= AGREEMENT
    torch.testing.assert_close(frozen(inputs), student(inputs).detach())
