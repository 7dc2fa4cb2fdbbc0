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


def test_what_stays_zero_takes_no_part_of_the_length_that_gradients_are_held_to() -> None:
    _, student = pair()
    with torch.no_grad():
        student.stem.weight[:, 1] = 0
    student.requires_grad_(True)
    hook = KeepZeros()
    hook.start(student, HookPlan(batches()[0][0]))

    def gradient() -> torch.Tensor:
        student.zero_grad()
        student(batches()[0][0]).square().sum().backward()
        assert student.stem.weight.grad is not None
        return student.stem.weight.grad

    assert (gradient()[:, 1] == 0).all()
    assert (gradient()[:, 0] != 0).all()
    hook.detach(student)
    assert (gradient()[:, 1] != 0).all()
