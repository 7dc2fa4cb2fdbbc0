"""Distillation: a divergence of scores, mean squares of all else, the mean of several teachers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from automl.recovery.base import Step
from automl.recovery.terms.kd import KnowledgeDistillation
from automl.testing import TermContract


class TestKd(TermContract):
    name = "kd"


SCORES = torch.tensor([[1.0, 2.0, 0.0]])


def loss(found: Tensor, *aims: Tensor, classes: bool = True, temperature: float = 4.0) -> float:
    step = Step(torch.zeros(1), None, [found], [[aim] for aim in aims], {}, classes)
    return float(KnowledgeDistillation(temperature=temperature)(step))


def test_scores_are_softened() -> None:
    assert loss(SCORES, SCORES) == pytest.approx(0.0, abs=1e-6)
    assert loss(SCORES + 5.0, SCORES) == pytest.approx(0.0, abs=1e-5)  # softmax sees no shift
    p, q = (torch.softmax(each / 4, 1) for each in (SCORES, SCORES.flip(1)))
    expected = 16 * float((p * (p / q).log()).sum())
    assert loss(SCORES.flip(1), SCORES) == pytest.approx(expected, rel=1e-5)
    assert loss(SCORES.flip(1), SCORES, temperature=1.0) != pytest.approx(expected, rel=0.1)


def test_several_teachers_are_the_mean_of_their_probabilities() -> None:
    other = SCORES.flip(1)
    both = (torch.softmax(SCORES / 4, 1) + torch.softmax(other / 4, 1)) / 2
    assert loss(4 * both.log(), SCORES, other) == pytest.approx(0.0, abs=1e-5)
    assert loss(SCORES, SCORES, other) > 0.01


def test_numbers_and_maps_are_compared_by_their_squares() -> None:
    aim = torch.tensor([[1.0, 2.0], [0.0, 2.0]])
    shifted = loss(aim + 1.5, aim, classes=False)
    assert shifted == pytest.approx(1.5**2 / 2.25)
    assert loss(100 * aim + 150, 100 * aim, classes=False) == pytest.approx(shifted)
    assert loss(torch.zeros(1, 2), torch.zeros(1, 2), classes=False) == 0.0
    maps = torch.zeros(1, 2, 2)
    assert loss(maps + 3.0, maps) == pytest.approx(9.0)
    assert loss(maps + 3.0, maps, maps + 6.0) == pytest.approx(0.0)


def test_losses_of_several_outputs_are_added() -> None:
    maps = torch.zeros(1, 2, 2)
    step = Step(torch.zeros(1), None, [maps + 1, maps + 2], [[maps, maps]])
    assert float(KnowledgeDistillation(weight=3.0)(step)) == pytest.approx(3 * (1 + 4))
