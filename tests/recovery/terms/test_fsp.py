"""FSP: Gram matrices between neighbouring places, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from automl.errors import DataError
from automl.recovery.base import Step
from automl.recovery.terms.fsp import Fsp, gram
from automl.testing import TermContract


class TestFsp(TermContract):
    name = "fsp"


def loss(*pairs: tuple[Tensor, Tensor]) -> float:
    features = {str(number): each for number, each in enumerate(pairs)}
    return float(Fsp()(Step(torch.zeros(1), None, [torch.zeros(1)], [], features)))


ONE = torch.tensor([[1.0, 2.0], [0.0, 1.0]]).view(1, 2, 1, 2)  # two channels of two pixels
OTHER = torch.tensor([[3.0, 1.0]]).view(1, 1, 1, 2)


def test_products_over_pixels_are_those_of_the_paper() -> None:
    assert gram(ONE, OTHER).tolist() == [[[(3 + 2) / 2], [(0 + 1) / 2]]]
    assert loss((ONE, ONE), (OTHER, OTHER)) == 0.0
    # twice the first place doubles the products: the gap is the aim itself
    assert loss((2 * ONE, ONE), (OTHER, OTHER)) == pytest.approx(1.0)
    assert loss((ONE.flip(3), ONE), (OTHER.flip(3), OTHER)) == pytest.approx(0.0)


def test_larger_maps_are_pooled_and_one_place_is_too_few() -> None:
    large = ONE.repeat_interleave(2, 3)
    assert torch.equal(gram(large, OTHER), gram(ONE, OTHER))
    with pytest.raises(DataError, match=r"two places of maps .* there are 1"):
        loss((ONE, ONE))
