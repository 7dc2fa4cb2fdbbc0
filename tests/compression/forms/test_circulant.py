import torch
from torch import nn

from automl.compression import fitted
from automl.compression.forms.circulant import Circulant
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestCirculant(FormContract):
    name = "circulant"


def test_each_row_of_a_block_is_the_one_before_it_turned_by_one() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3)
    found = fitted(Circulant(), 4, module, moments_of(module)).view(3, 4, 2, 4, 9)
    for row in range(3):
        assert torch.equal(found[:, row + 1], found[:, row].roll(1, 2))
