"""The objective: the sum of its terms, at each network's own resolution, for any loop."""

from __future__ import annotations

import pytest
import torch
from recoverable import batches, pair
from torch import Tensor, nn

from automl.recovery.base import Step, Term
from automl.recovery.objective import Objective
from automl.recovery.terms.registry import TERMS


class Noting(Term):
    """Keeps what it is shown."""

    reads_features = True

    def __init__(self, local: bool = False) -> None:
        self.local, self.steps = local, list[Step]()

    def __call__(self, step: Step) -> Tensor:
        self.steps.append(step)
        return torch.stack([found.square().mean() for found, _ in step.features.values()]).sum()


class WithoutTeachers(Noting):
    reads_teachers, reads_features = False, False

    def __call__(self, step: Step) -> Tensor:
        self.steps.append(step)
        return step.found[0].square().mean()


def test_the_teacher_sees_the_dense_resolution_and_the_student_its_own() -> None:
    teacher, student = pair()
    Objective(student, (teacher,), [TERMS.build("kd")], resolution=6)(batches()[0][0])
    assert (set(student.sizes), set(teacher.sizes)) == ({6}, {8})


def test_terms_are_shown_both_outputs_and_the_places_that_agree() -> None:
    teacher, student = pair(inner=4, outputs=2)
    term = Noting()
    Objective(student, (teacher, pair()[0]), [term], classes=False)(*batches()[0])
    (step,) = term.steps
    assert [each.dim() for each in step.found] == [2, 4]
    assert [len(each) for each in step.aims] == [2, 1]
    assert [*step.features] == ["blocks.0"]  # blocks' own output is one of the network's
    assert not step.classes
    assert not any(aim.requires_grad for aim in step.aims[0])


def test_without_a_term_that_reads_them_teachers_do_not_run() -> None:
    teacher, student = pair()
    Objective(student, (teacher,), [WithoutTeachers()])(batches()[0][0])
    assert not teacher.sizes


@pytest.mark.parametrize("local", [True, False])
def test_local_terms_train_each_block_by_itself(local: bool) -> None:
    teacher, student = pair()
    student.requires_grad_(True)

    class Last(Noting):
        def __call__(self, step: Step) -> Tensor:
            return step.features["blocks"][0].square().mean()

    Objective(student, (teacher,), [Last(local)])(batches()[0][0]).backward()
    before = student.blocks[0].conv1.weight.grad  # type: ignore[union-attr]
    assert student.blocks[1].conv1.weight.grad is not None  # type: ignore[union-attr]
    assert (before is None) == local


def test_modules_are_in_the_mode_that_they_were_in() -> None:
    teacher, student = pair()
    student.train()
    modes = [module.training for module in student.modules()]
    Objective(student, (teacher,), [TERMS.build("hints")])(batches()[0][0])
    assert [module.training for module in student.modules()] == modes
    assert isinstance(student, nn.Module)
