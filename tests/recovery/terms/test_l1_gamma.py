"""L1 on scales of norms: more of them go to zero than without."""

from __future__ import annotations

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import Step
from automl.recovery.layer_weights import norm_scales
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe
from automl.recovery.terms.l1_gamma import L1Gamma
from automl.testing import TermContract


class TestL1Gamma(TermContract):
    name = "l1-gamma"

    def pair(self, seed: int) -> tuple[nn.Module, nn.Module]:
        made: tuple[nn.Module, nn.Module] = pair()
        made[1].requires_grad_(True)
        return made


def test_scales_are_smaller_than_without() -> None:
    means = []
    for terms in (("kd",), ("kd", "l1-gamma:weight=0.3")):
        teacher, student = pair()
        recipe = RecoveryRecipe(terms, 8, learning_rate=0.05)
        recover(
            Objective(student, (teacher,), recipe.made_terms()), RecoveryData(batches()), recipe
        )
        scales = torch.cat([each.detach().abs() for each in norm_scales(student).values()])
        means.append(float(scales.mean()))
    assert means[1] < 0.9 * means[0]


def test_a_network_without_norms_is_refused() -> None:
    with pytest.raises(UsageError, match="no batch norms"):
        L1Gamma()(Step(torch.zeros(1), None, [], [], student=nn.Linear(2, 2)))
