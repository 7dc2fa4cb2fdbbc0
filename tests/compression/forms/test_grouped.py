"""Grouped convolutions between channels in the order that loses least."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from automl.compression import built, fitted, matrix, set_matrix
from automl.compression.forms.grouped import Grouped
from automl.compression.forms.modules import Picked
from automl.network import Layer, trace_network
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestGrouped(FormContract):
    name = "grouped"


def test_channels_that_belong_together_are_found_and_run_in_groups() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3, padding=1)
    reads, writes = torch.randperm(8) % 4, torch.randperm(12) % 4
    with torch.no_grad():
        module.weight *= 0.01 + (writes[:, None] == reads)[..., None, None]
    found = fitted(Grouped(), 4, module, moments_of(module))[0].view(12, 8, 9)
    assert torch.equal((found != 0).all(2), writes[:, None] == reads)
    set_matrix(module, found.reshape(1, 12, 72))
    runs = built(Grouped(), 4, module)
    assert isinstance(runs, nn.Sequential)
    before, convolution, after = runs
    assert isinstance(before, Picked)
    assert isinstance(after, Picked)
    assert convolution.groups == 4
    inputs = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(after(convolution(before(inputs))), module(inputs))


def test_the_metric_says_which_channels_belong_together() -> None:
    """Each group has one of two inputs that are alike."""
    torch.manual_seed(1)
    module = nn.Conv2d(8, 8, 1)
    rows = torch.randn(4000, 4, dtype=torch.float64).repeat(1, 2)
    rows += 0.1 * torch.randn(4000, 8)
    wide = torch.cat([rows, torch.ones(4000, 1)], 1)
    moments = (wide.T @ wide / 4000).unsqueeze(0)
    spread = moments[0, :-1, :-1]
    dense = matrix(module)[0].double()

    def error(values: torch.Tensor) -> float:
        gap = values[0].double() - dense
        return float(((gap @ spread) * gap).sum())

    aware, blind = (error(fitted(Grouped(), 2, module, each)) for each in (moments, None))
    straight = torch.zeros(8, 8, dtype=torch.bool)
    straight[:4, :4] = straight[4:, 4:] = True
    assert aware < 0.05 * blind
    assert aware < 0.05 * error((dense * straight)[None])


def test_a_cut_layer_has_the_groups_that_divide_it() -> None:
    layer = Layer("", "conv2d", np.array([8, 6, 5, 4]), 12, (3, 3), padding=(1, 1))  # type: ignore[arg-type]
    assert Grouped().lower(4, layer)[1].groups.tolist() == [4, 2, 1, 1]  # type: ignore[attr-defined]


def test_reordered_channels_are_priced_as_a_traced_network_has_them() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3, padding=1)
            self.order = Picked(torch.tensor([2, 0, 3, 1]), 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.order(self.convolution(images))
            return found

    traced = trace_network(Shuffled(), (1, 3, 8, 8), resolutions=())
    plan = next(each for each in traced.network.plans if each.layer.op == "gather")
    lowered = Grouped().lower(2, Layer(plan.layer.name, "conv2d", 4, 4, out_size=(8, 8)))[2]
    assert lowered == plan.layer
