"""Zero-out: chosen channels reach exactly zero, and the network without them is the same."""

from __future__ import annotations

import copy

import torch
from recoverable import batches, pair

from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import without_dead
from automl.recovery.hooks.zero_out import ZeroOut
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe
from automl.testing import HookContract


class TestZeroOut(HookContract):
    name = "zero-out"


def test_chosen_channels_shrink_at_an_even_pace_and_learn_nothing() -> None:
    student = pair()[1].requires_grad_(True)
    hook = ZeroOut(share=0.5, until=0.5)
    hook.start(student, HookPlan(batches()[0][0]))
    norm = student.blocks[0].bn1  # type: ignore[union-attr]
    before = copy.deepcopy(norm.weight.detach())  # type: ignore[union-attr]
    student(batches()[0][0]).sum().backward()  # type: ignore[union-attr]
    hook.before_step(student, Moment(0, 0.0, 0.1))
    hook.after_step(student, Moment(0, 0.25, 0.1))
    chosen = norm.weight.grad == 0  # type: ignore[union-attr]
    assert int(chosen.sum()) == 4
    expected = torch.where(chosen, before / 2, before)
    torch.testing.assert_close(norm.weight.detach(), expected)  # type: ignore[union-attr]
    hook.after_step(student, Moment(1, 0.375, 0.1))
    torch.testing.assert_close(norm.weight.detach()[chosen], before[chosen] / 4)  # type: ignore[union-attr]
    hook.after_step(student, Moment(2, 0.5, 0.1))
    assert (norm.weight.detach()[chosen] == 0).all()  # type: ignore[union-attr]


def test_removing_what_is_zero_changes_nothing() -> None:
    teacher, student = pair()
    recipe = RecoveryRecipe(("kd",), 4, hooks=("zero-out:share=0.25",))
    objective = Objective(student, (teacher,), recipe.made_terms())
    found = recover(objective, RecoveryData(batches()), recipe)
    assert found.told == ("zero-out: 6 of 24 channels are zero",)
    images = batches()[0][0]
    student.requires_grad_(False)
    smaller, gone, of = without_dead(student, images[:1])
    assert (gone, of) == (6, 24)
    assert smaller.stem.out_channels == 6  # type: ignore[union-attr]
    torch.testing.assert_close(smaller(images), student(images), rtol=1e-5, atol=1e-5)
