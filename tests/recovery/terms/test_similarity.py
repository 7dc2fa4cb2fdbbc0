"""Similarity: which inputs are alike, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from automl.errors import DataError
from automl.recovery.base import Step
from automl.recovery.terms.similarity import Similarity
from automl.testing import TermContract


class TestSimilarity(TermContract):
    name = "similarity"


def loss(*pairs: tuple[Tensor, Tensor]) -> float:
    features = {str(number): each for number, each in enumerate(pairs)}
    return float(Similarity(weight=1.0)(Step(torch.zeros(1), None, [], [], features)))


def test_inputs_that_are_alike_stay_alike() -> None:
    aim = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    turned = torch.tensor([[0.0, 2.0], [-2.0, 0.0]])
    assert loss((turned, aim)) == pytest.approx(0.0)  # turned and scaled: as alike as before
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    row = 0.5**0.5  # of length one
    expected = ((row - 1) ** 2 + row**2) / 2
    assert loss((same, aim)) == pytest.approx(expected)


def test_no_place_is_said() -> None:
    with pytest.raises(DataError, match="similarity finds no place"):
        loss()
