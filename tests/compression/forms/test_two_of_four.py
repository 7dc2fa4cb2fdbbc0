"""Two of four, as sparse tensor cores take them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.compression.forms.building import fitted
from automl.compression.forms.two_of_four import TwoOfFour
from automl.compression.layer_matrix import matrix
from automl.network import Layer
from automl.policy import Bits
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestTwoOfFour(FormContract):
    name = "2:4"


@pytest.mark.parametrize("saliency", ["obs", "obd", "magnitude"])
def test_of_four_channels_two_have_weights_at_each_tap(saliency: str) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3, padding=1)
    found = fitted(TwoOfFour(), saliency, module, moments_of(module)).view(12, 2, 4, 9)
    assert ((found != 0.0).sum(2) == 2).all()


def test_correction_loses_at_most_half_of_what_magnitude_does() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3, padding=1)
    moments, weights = moments_of(module), matrix(module).double()
    spread = moments[:, :-1, :-1] - moments[:, :-1, -1:] @ moments[:, -1:, :-1]
    errors = []
    for saliency in ("obs", "obd", "magnitude"):
        gap = weights - fitted(TwoOfFour(), saliency, module, moments).double()
        errors.append(float((gap @ spread * gap).sum()))
    assert errors[0] <= 0.5 * errors[2]
    assert errors[0] <= 0.5 * errors[1]


def test_a_file_holds_what_stays_and_which_of_four_it_is() -> None:
    form = TwoOfFour()
    layer = Layer("", "conv2d", 8, 12, (3, 3))
    assert form.bytes("obs", layer, Bits()) == 432 / 4 + 4 * 432
    assert form.bytes("obs", layer, Bits(8, 8)) == 864 + 4 * 12  # rounded, all are there
    for read, stay in ((6, 4), (5, 3), (3, 2)):  # where channels were cut
        cut = Layer("", "conv2d", read, 4, (1, 1))
        assert form.bytes("obs", cut, Bits()) == 4 * stay / 4 + 16 * stay


def test_other_layers_are_refused() -> None:
    form = TwoOfFour()
    assert form.refusal(None, Layer("", "conv2d", 6, 8)) == "it reads 6 channels, no multiple of 4"
    assert form.refusal(None, Layer("", "depthwise_conv2d", 8, 8, groups=8)).startswith(
        "it reads 1"
    )
    with pytest.raises(ValueError, match="'obs' chooses no weights: obd, magnitude do"):
        form.read("obs")
