import torch
from torch import nn

from automl.compression import fitted
from automl.compression.forms.versatile import Versatile
from automl.network import Layer
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestVersatile(FormContract):
    name = "versatile"


def test_a_third_of_five_by_five_filters_is_whole() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(4, 12, 5, padding=2)
    found = fitted(Versatile(), 3, module, moments_of(module)).view(12, 4, 5, 5)
    rings = [found[:, :, 2, 2], found[:, :, 1:4, 1:4].flatten(1), found.flatten(1)]
    sizes = torch.stack([(each != 0.0).flatten(1).sum(1) for each in rings]).tolist()
    assert sorted(sizes[2]) == [4] * 4 + [36] * 4 + [100] * 4
    assert len(found[:, :, 2, 2].unique(dim=0)) == 4  # whole filters, and their middles


def test_what_a_layer_needs() -> None:
    form = Versatile()
    assert form.refusal(None, Layer("", "conv2d", 8, 8)) == "it has no taps around others"
    said = form.refusal(3, Layer("", "conv2d", 8, 8, (3, 3)))
    assert said == "a filter is used 2 to 2 times in its 3x3"
