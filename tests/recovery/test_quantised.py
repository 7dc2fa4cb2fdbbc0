"""Integer networks in training: they begin as they were, gain, and are exported as trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from automl.compression.layer_matrix import matrix, set_matrix
from automl.compression.quantization.codebook import Codebook, codebook
from automl.compression.quantization.qparams import QParams
from automl.compression.quantization.simulation import SCHEMES, QuantizedModel, make_plan
from automl.errors import UsageError
from automl.export.agreement import AGREEMENT
from automl.export.onnx import export_onnx
from automl.export.packed import read_packed, state_dict
from automl.network.precision import Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.pipeline.writing import save_packed
from automl.policy.policy import Bits
from automl.recovery.delivered_weights import DeliveredWeights
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.quantised import QuantizedStudent
from automl.recovery.quantizers.lsq import WeightSteps
from automl.recovery.quantizers.registry import TRAINED_QUANTIZERS
from automl.recovery.recipe import RecoveryRecipe
from quantised import INT8, SHAPE, Net, all_layers, images, quantised, smaller_copy, traced

__all__ = ["traced"]


@pytest.fixture(scope="module")
def sharp() -> TracedModel:
    """With outputs that are large enough to be told apart."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        network = Net().eval()
        network.head.weight.mul_(30)
        return trace_network(network, SHAPE, resolutions=())


def student_of(
    model: QuantizedModel, quantizer: str = "lsq", dense: nn.Module | None = None
) -> QuantizedStudent:
    return QuantizedStudent(model, TRAINED_QUANTIZERS.build(quantizer), [images(8)], dense=dense)


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


def shared_values(
    traced: TracedModel, bits: int, network: nn.Module | None = None
) -> QuantizedModel:
    """Weights alone, as codebooks; of a copy of the network, `Net`'s without its norms."""
    network = smaller_copy(traced) if network is None else network
    network.load_state_dict(traced.model.state_dict(), strict=False)
    plan = make_plan(Flow(traced.trace), all_layers(traced, Bits(bits, 32)), None)
    books = {name: codebook(matrix(network.get_submodule(name)), bits) for name in plan.bits}
    for name, book in books.items():
        set_matrix(network.get_submodule(name), book.values())
    return QuantizedModel(network, plan, {}, books)


def test_losses_of_weights_are_of_those_that_rounding_reads(sharp: TracedModel) -> None:
    """Shared values are parameters beside the weights, which nobody reads."""
    model = quantised(sharp, all_layers(sharp, INT8), next(iter(SCHEMES)))
    found = DeliveredWeights(student_of(model), images(2))()
    assert {*found} == {f"{name}.weight" for name in model.weights}
    shared = student_of(shared_values(sharp, 2))
    with pytest.raises(UsageError, match="those of all layers are values that they share"):
        DeliveredWeights(shared, images(2))()


def test_shared_values_are_trained_and_who_has_which_stays(
    sharp: TracedModel, tmp_path: Path
) -> None:
    model = shared_values(sharp, 2)
    student, inputs = student_of(model), images(16)
    assert torch.equal(student.frozen()(inputs), model(inputs))
    losses = trained(student, sharp.model)
    assert losses[-1] < 0.8 * losses[0]
    frozen = student.frozen()
    for name, book in frozen.weights.items():
        before = model.weights[name]
        assert isinstance(book, Codebook)
        assert isinstance(before, Codebook)
        assert torch.equal(book.indices, before.indices)
        assert not torch.equal(book.entries, before.entries)
        assert torch.equal(matrix(frozen.network.get_submodule(name)), book.values())
    torch.testing.assert_close(frozen(inputs), student(inputs).detach())
    assert export_onnx(frozen, SHAPE, tmp_path / "net.onnx", inputs) <= AGREEMENT


@pytest.mark.parametrize("scheme", ["qdq-u8s8", "qdq-s8s8-tensor"])
def test_the_file_computes_what_was_trained(
    traced: TracedModel, scheme: str, tmp_path: Path
) -> None:
    student = student_of(quantised(traced, all_layers(traced, INT8), scheme))
    trained(student, traced.model, 2)
    frozen, inputs = student.frozen(), images(32)
    assert export_onnx(frozen, SHAPE, tmp_path / "net.onnx", inputs) <= AGREEMENT
    torch.testing.assert_close(frozen(inputs), student(inputs).detach())


@pytest.mark.parametrize(
    ("quantizer", "bits"),
    [
        *((name, INT8) for name in ("lsq", "qil", "minmax", "hwgq", "relaxed")),
        *((name, Bits(4, 8)) for name in ("pact", "dorefa")),
        *((name, Bits(2, 8)) for name in ("ternary", "elq")),
        *((name, Bits(1, 8)) for name in ("binary", "bnn", "xnor")),
    ],
)
def test_the_integer_file_computes_what_each_quantizer_trained(
    traced: TracedModel, quantizer: str, bits: Bits, tmp_path: Path
) -> None:
    model = quantised(traced, all_layers(traced, bits), "qdq-s8s8")
    student, inputs = student_of(model, quantizer, traced.model), images(32)
    trained(student, traced.model, 1)
    frozen = student.frozen()
    assert export_onnx(frozen, SHAPE, tmp_path / "net.onnx", inputs) <= AGREEMENT
    assert torch.equal(frozen(inputs), student(inputs).detach())
    kept = read_packed(tmp_path / "net.bin") if save_packed(frozen, tmp_path / "net.bin") else {}
    weights = {name: value for name, value in state_dict(kept).items() if name.endswith("weight")}
    assert all(torch.equal(frozen.network.get_parameter(name), weights[name]) for name in weights)
    assert weights


@pytest.mark.parametrize(
    ("quantizer", "bits", "most"),
    [
        ("ttq", 2, 3),
        ("ternary", 2, 3),
        ("elq", 2, 3),
        ("lr-net", 2, 3),
        ("lr-net", 1, 2),
        ("binary", 1, 2),
        ("bnn", 1, 2),
        ("xnor", 1, 2),
        ("pow2", 4, 9),
    ],
)
def test_weights_alone_are_trained_and_exported_as_few_values(
    sharp: TracedModel, quantizer: str, bits: int, most: int, tmp_path: Path
) -> None:
    student = student_of(shared_values(sharp, bits), quantizer, sharp.model)
    losses = trained(student, sharp.model)
    assert losses[-1] < 0.8 * losses[0]
    frozen, inputs = student.frozen(), images(16)
    torch.testing.assert_close(frozen(inputs), student(inputs).detach(), atol=1e-4, rtol=1e-4)
    for name, known in frozen.weights.items():
        layer = matrix(frozen.network.get_submodule(name))
        rows = layer.flatten(0, 1) if isinstance(known, QParams) else layer.flatten(0, 2)[None]
        assert all(len(row.unique()) <= most for row in rows)
    assert export_onnx(frozen, SHAPE, tmp_path / "net.onnx", inputs) <= AGREEMENT
    assert save_packed(frozen, tmp_path / "net.bin")
    for name, value in state_dict(read_packed(tmp_path / "net.bin")).items():
        assert torch.equal(frozen.network.state_dict()[name], value)


def test_what_is_drawn_hangs_on_the_state_and_the_global_chance_stays(sharp: TracedModel) -> None:
    found = []
    for _ in range(2):
        student = student_of(shared_values(sharp, 2), "lr-net", sharp.model)
        torch.rand(3)
        trained(student, sharp.model, 2)
        found.append(student(images(8)).detach())
    assert torch.equal(*found)


@pytest.mark.parametrize("quantizer", ["lsq", "pact", "dorefa", "qil", "minmax", "hwgq", "relaxed"])
def test_what_is_exported_has_learned(sharp: TracedModel, quantizer: str) -> None:
    model = quantised(sharp, all_layers(sharp, Bits(4, 4)), None)
    student, inputs = student_of(model, quantizer, sharp.model), images(64)
    wanted = sharp.model(inputs).softmax(1)

    def error() -> Tensor:
        return kl_div(student.frozen()(inputs).log_softmax(1), wanted, reduction="batchmean")

    before = error()
    trained(student, sharp.model, 12)
    assert error() < 0.8 * before


def test_hints_reach_integers(sharp: TracedModel) -> None:
    student = student_of(quantised(sharp, all_layers(sharp, Bits(4, 4)), None))
    objective = Objective(student, (sharp.model,), RecoveryRecipe(("hints",)).made_terms())
    assert "block" in objective.places(images(4))
    student.requires_grad_(True)
    objective(images(8)).backward()
    grads = [each.grad for each in student.parameters() if each.grad is not None]
    assert any(each.abs().max() > 0 for each in grads)


def test_a_quantizer_that_fits_no_layer_is_refused_and_one_that_fits_some_is_not(
    traced: TracedModel,
) -> None:
    with pytest.raises(UsageError, match=r"weights alone: w2, and the layers have int8"):
        student_of(quantised(traced, all_layers(traced), None), "ttq")
    bits = all_layers(traced, Bits(1, 8)) | {"stem": INT8}
    student = student_of(quantised(traced, bits, None), "xnor")
    assert isinstance(student.weight_roundings["weight of stem"], WeightSteps)
    assert not isinstance(student.weight_roundings["weight of down"], WeightSteps)
