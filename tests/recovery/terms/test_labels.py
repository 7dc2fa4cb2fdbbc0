"""Labels: cross-entropy, and mean squares to pictures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from automl.errors import DataError
from automl.recovery.base import Step
from automl.recovery.terms.labels import Labels
from automl.testing import TermContract


class TestLabels(TermContract):
    name = "labels"


SCORES = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]])


def loss(found: Tensor, targets: object, **options: float) -> float:
    return float(Labels(**options)(Step(torch.zeros(2, 1), targets, [found], [])))


def test_classes_and_pictures() -> None:
    classes = torch.tensor([1, 0])
    assert loss(SCORES, classes) == pytest.approx(float(F.cross_entropy(SCORES, classes)))
    assert loss(SCORES, [1, 0], weight=2.0) == pytest.approx(2 * loss(SCORES, classes))
    right = torch.tensor([1, 2])
    assert loss(SCORES, right, smoothing=0.1) > loss(SCORES, right)
    assert loss(torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 3.0)) == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("found", "targets", "said"),
    [
        (SCORES, None, "needs targets"),
        (SCORES, torch.tensor([1, 3]), "labels from 1 to 3, and the model has 3 outputs"),
        (SCORES, torch.tensor([-1, 0]), "labels from -1"),
        (SCORES, torch.zeros(2, 1, 4, 4), "are not those of outputs of shape"),
        (torch.zeros(2, 3, 4, 4), torch.tensor([1, 0]), "train with kd"),
        (SCORES, ["cat", "dog"], "not class indices"),
    ],
)
def test_targets_that_do_not_fit_are_refused(found: Tensor, targets: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        loss(found, targets)
