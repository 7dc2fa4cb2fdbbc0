import torch
from torch import nn

from automl.compression import fitted
from automl.compression.forms.hashed import Hashed, hashed
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestHashed(FormContract):
    name = "hash"


def test_a_layer_has_as_many_numbers_as_its_share() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3)
    found = fitted(Hashed(), 8, module, moments_of(module))
    assert len(found.abs().unique()) == 8 * 12 * 9 // 8


def test_the_hash_is_even_and_the_same_everywhere() -> None:
    places, signs = hashed(6400, 64)
    assert torch.bincount(places).min() > 60
    assert abs(int(signs.sum())) < 320
    assert places[:6].tolist() == [19, 12, 34, 24, 41, 52]
    assert signs[:6].tolist() == [-1, 1, -1, -1, 1, 1]
