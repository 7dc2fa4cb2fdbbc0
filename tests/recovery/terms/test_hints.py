"""Hints: relative to how much the teacher's features vary, maps of other sizes pooled."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from automl.errors import DataError
from automl.recovery.base import Step
from automl.recovery.terms.hints import Hints
from automl.testing import TermContract


class TestHints(TermContract):
    name = "hints"


class TestLocalHints(TermContract):
    name = "hints:local=true"


def loss(*pairs: tuple[Tensor, Tensor]) -> float:
    features = {str(number): each for number, each in enumerate(pairs)}
    return float(Hints()(Step(torch.zeros(1), None, [], [], features)))


def test_differences_are_relative_to_the_teachers_variance() -> None:
    aim = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert loss((aim, aim)) == 0.0
    wrong = loss((aim.flip(0), aim))
    assert loss((10 * aim.flip(0) + 5, 10 * aim + 5)) == pytest.approx(wrong, rel=1e-4)
    assert loss((aim, aim), (aim.flip(0), aim)) == pytest.approx(wrong / 2)
    mean = aim.mean(0, keepdim=True).expand_as(aim)
    assert loss((mean, aim)) == pytest.approx(1.0)


def test_maps_of_other_sizes_are_pooled() -> None:
    aim = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    pooled = torch.nn.functional.avg_pool2d(aim, 2)
    assert loss((pooled, aim)) == pytest.approx(0.0, abs=1e-12)


def test_no_place_at_all_is_said() -> None:
    with pytest.raises(DataError, match="no place where both networks are of one width"):
        loss()
