"""Layers of few numbers in training: they learn, stay what they are, and are stored as trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from automl.compression import FORMS, DenseForm, fitted, form_of, kernel_of, set_matrix
from automl.errors import UsageError
from automl.recovery.formed import FormedStudent
from automl.testing import FormContract

#: What is stored of it is not found again in weights that were trained.
UNTRAINED = "rank+sparse"
DENSE = [name for name in FORMS.ours if isinstance(form_of(name), DenseForm)]


class _Cases(FormContract):
    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]


def cases(name: str) -> Iterator[tuple[nn.Module, DenseForm[Any], Any, Tensor]]:
    """Layers of a form, with what they read."""
    form = form_of(name)
    assert isinstance(form, DenseForm)
    generator = torch.Generator().manual_seed(0)
    for module, layer, parameter in [*_Cases(name).cases()][:6]:
        set_matrix(module, fitted(form, parameter, module, None))
        read = (32, module.in_features) if isinstance(module, nn.Linear) else None
        channels = getattr(module, "in_channels", 0)
        size = (32, channels, *layer.in_size) if read is None else read
        yield module.eval(), form, parameter, torch.randn(size, generator=generator)


def test_a_form_whose_parts_are_not_found_again_is_refused() -> None:
    for module, form, parameter, _ in cases(UNTRAINED):
        with pytest.raises(UsageError, match=r"0 has the form rank\+sparse, whose weights cannot"):
            FormedStudent(nn.Sequential(module), {"0": (form, parameter)})


def test_shared_values_have_the_sum_of_their_gradients_and_zeros_stay() -> None:
    module, form, parameter, inputs = next(cases("clustered"))
    student: Any = FormedStudent(nn.Sequential(module), {"0": (form, parameter)})
    student(inputs).square().sum().backward()
    plain: Any = nn.Sequential(module)
    plain.requires_grad_(True)(inputs).square().sum().backward()
    entries = student.parts["parts of 0"].entries
    weights, slopes = module.weight.detach(), module.weight.grad
    for value, slope in zip(entries.detach(), entries.grad, strict=True):
        wanted = slopes[weights == value].sum() if value else torch.zeros(())
        torch.testing.assert_close(slope, wanted, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        entries.add_(1)
    assert torch.equal(student.frozen()[0].weight == 0, weights == 0)
    assert (weights == 0).any()


@pytest.mark.parametrize("name", sorted({*DENSE} - {UNTRAINED}))
def test_what_a_form_stores_is_trained_and_the_layer_stays_a_member(name: str) -> None:
    for module, form, parameter, inputs in cases(name):
        network = nn.Sequential(module)
        student = FormedStudent(network, {"0": (form, parameter)})
        torch.testing.assert_close(student(inputs), network(inputs), rtol=1e-3, atol=1e-4)
        aim = 0.8 * network(inputs).detach()
        optimiser = torch.optim.SGD(student.parameters(), 0.01)
        errors = []
        for _ in range(8):
            optimiser.zero_grad()
            error = (student(inputs) - aim).square().mean()
            error.backward()
            optimiser.step()
            errors.append(float(error.detach()))
        assert errors[-1] < errors[0] or name == "pow2"
        frozen: Any = student.frozen()
        torch.testing.assert_close(frozen(inputs), student(inputs).detach())
        kernel = kernel_of(frozen[0])
        parts = form.pack(parameter, kernel)
        if parts:
            again = form.unpack(parameter, [each.values for each in parts], kernel.shape)
            torch.testing.assert_close(again.double(), kernel, rtol=1e-4, atol=1e-5)
        else:
            before = kernel_of(network[0])
            assert len(kernel.unique()) <= max(len(before.unique()), 1 << 8)
