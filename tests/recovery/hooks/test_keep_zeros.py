"""Zeros stay zero, and others learn."""

from __future__ import annotations

import copy

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import HookPlan
from automl.recovery.hooks.keep_zeros import KeepZeros
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe
from automl.testing import HookContract


class TestKeepZeros(HookContract):
    name = "keep-zeros"

    def student(self) -> tuple[nn.Module, nn.Module]:
        dense, student = super().student()
        with torch.no_grad():
            for value in student.parameters():
                value[value.abs() < value.abs().median()] = 0
        return dense, student


def test_zeros_stay_and_others_learn() -> None:
    teacher, student = pair()
    with torch.no_grad():
        student.stem.weight[:, 1] = 0
    before = copy.deepcopy(student)
    objective = Objective(student, (teacher,), RecoveryRecipe().made_terms())
    found = recover(
        objective, RecoveryData(batches()), RecoveryRecipe(epochs=2, hooks=("keep-zeros",))
    )
    assert found.told[0].startswith("keep-zeros: 72 of ")
    assert (student.stem.weight[:, 1] == 0).all()
    assert not torch.equal(student.stem.weight, before.stem.weight)


def test_a_network_without_zeros_is_refused() -> None:
    with pytest.raises(UsageError, match="no weight of the network is zero"):
        KeepZeros().start(pair()[1], HookPlan(batches()[0][0]))
