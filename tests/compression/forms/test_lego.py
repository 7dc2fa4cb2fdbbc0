import torch
from torch import nn

from automl.compression import fitted
from automl.compression.forms.lego import Lego
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestLego(FormContract):
    name = "lego"


def test_halves_of_filters_are_multiples_of_few() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3)
    halves = fitted(Lego(), 4, module, moments_of(module)).view(24, 36).double()
    directions = halves / halves.norm(dim=1, keepdim=True)
    alike = (directions @ directions.T).abs() > 1 - 1e-6
    assert len(alike.unique(dim=0)) == 3
