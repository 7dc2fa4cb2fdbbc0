"""Losses of weights are of those that are delivered: norms folded, forms as they are made."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.compression import DenseForm, fitted, form_of, set_matrix
from automl.network import trace_network, with_norms
from automl.recovery.delivered_weights import DeliveredWeights
from automl.recovery.formed import FormedStudent
from automl.recovery.layer_weights import layer_weights
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe
from automl.recovery.terms.registry import TERMS

INPUTS = batches()[0][0]
OF_WEIGHTS = ("l1", "l2", "group-lasso", "cges", "k-means")


def normed() -> tuple[nn.Module, nn.Module]:
    """A network with norms folded, and the same with norms put back."""
    model = pair()[1]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(torch.linspace(0.2, 3, len(module.weight)))
    folded = trace_network(model, (1, 3, 8, 8), resolutions=()).model
    return folded, with_norms(folded, [inputs for inputs, _ in batches()])


def test_they_are_those_of_the_folded_network() -> None:
    folded, student = normed()
    found = DeliveredWeights(student, INPUTS)()
    for name, weight in layer_weights(folded).items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_a_loss_is_the_same_with_norms_folded_and_put_back(name: str) -> None:
    losses = [float(Objective(each, (), [TERMS.build(name)])(INPUTS).detach()) for each in normed()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_lengths_have_their_gradient_in_norms(name: str) -> None:
    """The length of a filter behind a norm changes nothing: what the norm multiplies with does."""
    student = normed()[1].requires_grad_(True)
    Objective(student, (), [TERMS.build(name)])(INPUTS).backward()
    layer, norm = student.get_submodule("blocks.0.conv1"), student.get_submodule("blocks.0.bn1")
    weight: Any = layer.weight
    along = (weight * weight.grad).flatten(1).sum(1)
    lengths = weight.flatten(1).norm(dim=1) * weight.grad.flatten(1).norm(dim=1)
    assert (along.abs() <= 1e-4 * lengths + 1e-9).all()
    assert norm.get_parameter("weight").grad is not None


def test_a_filter_of_zeros_has_no_gradient() -> None:
    student = normed()[1].requires_grad_(True)
    layer: Any = student.get_submodule("blocks.0.conv1")
    with torch.no_grad():
        layer.weight[2] = 0
    Objective(student, (), [TERMS.build("group-lasso")])(INPUTS).backward()
    assert torch.isfinite(layer.weight.grad).all()
    assert layer.weight.grad[2].abs().max() == 0


def test_training_shortens_what_is_delivered() -> None:
    folded = []
    for weight in (0, 0.1):
        teacher, student = pair()
        recipe = RecoveryRecipe(("kd", f"group-lasso:weight={weight}"), 8, learning_rate=0.05)
        recover(
            Objective(student, (teacher,), recipe.made_terms()), RecoveryData(batches()), recipe
        )
        found = layer_weights(trace_network(student, (1, 3, 8, 8), resolutions=()).model)
        folded.append(sum(float(each.detach().norm()) for each in found.values()))
    assert folded[1] < 0.9 * folded[0]


def test_a_transposed_convolution_of_groups_has_its_outputs() -> None:
    norm = nn.BatchNorm2d(4)
    model = nn.Sequential(nn.ConvTranspose2d(6, 4, 2, groups=2), norm).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    inputs = torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    folded = trace_network(model, (1, 6, 3, 3), resolutions=()).model
    found = DeliveredWeights(model, inputs)()["0.weight"]
    torch.testing.assert_close(found, folded.get_parameter("0.weight"))
    found.abs().sum().backward()
    weight: Any = model[0].weight
    along = (weight * weight.grad).unflatten(0, (2, 3)).sum((1, 3, 4))
    assert along.abs().max() < 1e-4 * weight.grad.abs().max()


def test_of_a_form_they_are_what_it_makes_and_its_numbers_learn() -> None:
    """What stands in the layer is not used, and nothing of it is in the loss."""
    form, layer = form_of("clustered"), nn.Linear(8, 8)
    assert isinstance(form, DenseForm)
    parameter = form.read("50-2")  # half are zero, the others have four values
    set_matrix(layer, fitted(form, parameter, layer, None))
    student: Any = FormedStudent(nn.Sequential(copy.deepcopy(layer)), {"0": (form, parameter)})
    with torch.no_grad():
        student.network[0].weight.add_(100)  # what an optimiser of all parameters may do
    student.requires_grad_(True)
    loss = Objective(student, (), [TERMS.build("l1:weight=1")])(torch.zeros(1, 8))
    assert float(loss.detach()) == pytest.approx(float(layer.weight.detach().abs().sum()), rel=1e-5)
    loss.backward()
    assert student.network[0].weight.grad is None or not student.network[0].weight.grad.any()
    assert student.parts["parts of 0"].entries.grad.abs().max() > 0


@pytest.mark.parametrize("hook", ["dropconnect", "meprop", "quantised-gradients", "soft-mask"])
def test_hooks_that_stand_on_the_network_are_no_hindrance(hook: str) -> None:
    teacher, student = pair()
    recipe = RecoveryRecipe(("kd", "l1:weight=0.01"), 1, hooks=(hook,))
    found = recover(
        Objective(student, (teacher,), recipe.made_terms()), RecoveryData(batches()), recipe
    )
    assert found.steps == 4
    assert not found.stopped
