"""One tap a channel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.compression import built, fitted, matrix
from automl.compression.forms.separable import Separable
from automl.compression.forms.shift import Shift
from automl.compression.forms.taps import Taps
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestShift(FormContract):
    name = "shift"


def test_each_channel_is_read_at_one_tap_of_all_outputs() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(6, 8, 3, padding=1)
    found = fitted(Shift(), "", module, moments_of(module)).view(8, 6, 9)
    assert torch.equal((found != 0).any(0).sum(1), torch.ones(6, dtype=torch.long))
    with torch.no_grad():
        module.weight.copy_(found.view(8, 6, 3, 3))
    runs = built(Shift(), "", module)
    assert isinstance(runs, nn.Sequential)
    moves, across = runs
    assert isinstance(moves, nn.Conv2d)
    assert moves.weight.unique().tolist() == [0.0, 1.0]
    assert across.kernel_size == (1, 1)


def test_it_loses_less_than_the_middle_and_more_than_a_kernel_for_each_channel() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(6, 8, 3, padding=1)
    moments = moments_of(module)
    mean = moments[0, :-1, -1:]
    spread = moments[0, :-1, :-1] - mean @ mean.T

    def error(values: torch.Tensor) -> float:
        gap = values[0].double() - matrix(module)[0].double()
        return float(((gap @ spread) * gap).sum())

    middle = error(fitted(Taps(), (1, 1, 1), module, moments))
    kernels = error(fitted(Separable(), 1, module, moments))
    assert kernels < error(fitted(Shift(), "", module, moments)) < 0.95 * middle


def test_there_is_one_way() -> None:
    with pytest.raises(ValueError, match="one way"):
        Shift().read("3")
