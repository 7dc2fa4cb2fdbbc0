"""L2 of weights: its value, and that norms fall with it."""

from __future__ import annotations

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.recovery.base import Step
from automl.recovery.delivered_weights import DeliveredWeights
from automl.recovery.layer_weights import layer_weights
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe
from automl.recovery.terms.l2 import L2Weights
from automl.testing import TermContract


class TestL2Weights(TermContract):
    name = "l2"


def test_its_value() -> None:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-3.0, 4.0]]))
    step = Step(torch.zeros(1), None, [], [], weights=layer_weights(layer))
    assert float(L2Weights(weight=1.0)(step).detach()) == pytest.approx(25.0)


def test_norms_fall_with_the_weight() -> None:
    norms = []
    for weight in (0.0, 1e-2, 1e-1):
        teacher, student = pair()
        recipe = RecoveryRecipe(("kd", f"l2:weight={weight}"), 4)
        recover(
            Objective(student, (teacher,), recipe.made_terms()), RecoveryData(batches()), recipe
        )
        found = DeliveredWeights(student, batches()[0][0])().values()
        norms.append(sum(float(each.detach().norm()) for each in found))
    assert norms[0] > norms[1] > norms[2]
