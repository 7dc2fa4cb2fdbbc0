"""Few maps, and outputs made of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.compression import built, fitted, matrix, set_matrix
from automl.compression.forms.ghost import Ghost
from automl.compression.forms.modules import Picked
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestGhost(FormContract):
    name = "ghost"


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_layer_of_few_maps_is_found_exactly(place: str) -> None:
    """Three maps, of which each output is a multiple, or on which it has taps."""
    torch.manual_seed(0)
    module = nn.Conv2d(6, 12, 3, padding=1)
    which = torch.arange(12) % 3
    with torch.no_grad():
        if place == "first":
            module.weight.copy_(torch.randn(3, 6, 3, 3)[which] * torch.randn(12, 1, 1, 1))
        else:
            module.weight.copy_(torch.randn(3, 6, 1, 1)[which] * torch.randn(12, 1, 3, 3))
    found = fitted(Ghost(), (4, place), module, moments_of(module))
    torch.testing.assert_close(found, matrix(module), rtol=1e-4, atol=1e-5)
    runs = built(Ghost(), (4, place), module)
    assert isinstance(runs, nn.Sequential)
    convolution, order, cheap = runs
    assert isinstance(order, Picked)
    assert convolution.out_channels == 3
    assert cheap.groups == 12
    alike = order.index[:, None] == order.index
    assert torch.equal(alike, which[:, None] == which)


def test_outputs_that_share_a_map_are_multiples_of_one_filter() -> None:
    torch.manual_seed(1)
    module = nn.Conv2d(6, 12, 3, padding=1)
    found = fitted(Ghost(), (4, "first"), module, moments_of(module))[0].double()
    found = found / found.norm(dim=1, keepdim=True)
    assert len(((found @ found.T).abs() > 1 - 1e-6).unique(dim=0)) == 3
    set_matrix(module, fitted(Ghost(), (4, "last"), module, moments_of(module)))
    across = module.weight.detach().double().permute(0, 2, 3, 1).reshape(-1, 6)
    across = across / across.norm(dim=1, keepdim=True)
    assert len(((across @ across.T).abs() > 1 - 1e-5).unique(dim=0)) == 3


def test_what_is_read_counts() -> None:
    torch.manual_seed(2)
    module = nn.Conv2d(6, 12, 3, padding=1)
    moments = moments_of(module)
    mean = moments[0, :-1, -1:]
    spread = moments[0, :-1, :-1] - mean @ mean.T
    dense = matrix(module)[0].double()
    for parameter in ((2, "first"), (2, "last"), (4, "last")):
        aware, blind = (
            float(((gap @ spread) * gap).sum())
            for gap in (
                fitted(Ghost(), parameter, module, each)[0].double() - dense
                for each in (moments, None)
            )
        )
        assert aware < 0.95 * blind


def test_other_texts_are_refused() -> None:
    for text, said in (("2", "first or last"), ("1-last", "from 2"), ("x-last", "from 2")):
        with pytest.raises(ValueError, match=said):
            Ghost().read(text)
