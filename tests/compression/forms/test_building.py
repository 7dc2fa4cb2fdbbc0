"""A module's geometry, and what of it forms know."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.compression.forms.building import built, fitted, layer_of
from automl.compression.forms.rank_spatial import PlainRankSpatial, RankSpatial
from automl.compression.layer_matrix import matrix
from automl.testing.forms import moments_of


@pytest.mark.parametrize(
    ("module", "padding"),
    [
        (nn.Conv2d(2, 3, 3, padding="same", dilation=2), (2, 2)),
        (nn.Conv2d(2, 3, 4, padding="same"), (1, 1)),
        (nn.Conv2d(2, 3, 3, padding="valid"), (0, 0)),
        (nn.Conv1d(2, 3, 5, padding=2), (2, 0)),
    ],
)
def test_what_is_padded_before_the_first_tap(module: nn.Module, padding: tuple[int, int]) -> None:
    layer = layer_of(module)
    assert layer is not None
    assert layer.padding == padding


def test_modules_that_forms_do_not_know() -> None:
    for module in (nn.ConvTranspose2d(2, 3, 3), nn.Conv3d(2, 3, 3), nn.BatchNorm2d(3)):
        assert layer_of(module) is None


def test_with_data_the_outputs_differ_less_than_with_plain_singular_values() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(6, 8, 3, padding=1)
    moments, weights = moments_of(module), matrix(module).double()
    spread = moments[:, :-1, :-1] - moments[:, :-1, -1:] @ moments[:, -1:, :-1]
    errors = []
    for form in (RankSpatial(), PlainRankSpatial()):
        gap = weights - fitted(form, 3, module, moments).double()
        errors.append(float((gap @ spread * gap).sum()))
    assert errors[0] < 0.9 * errors[1]


def test_what_is_built_trains_as_the_layer_did() -> None:
    layer = nn.Conv2d(6, 8, 3, padding=1).double().requires_grad_(False)
    made = built(RankSpatial(), 3, layer)
    assert {each.dtype for each in made.parameters()} == {torch.float64}
    assert not any(each.requires_grad for each in made.parameters())
