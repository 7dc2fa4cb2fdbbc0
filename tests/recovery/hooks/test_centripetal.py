"""Centripetal: filters of a cluster become equal, and merging them changes nothing."""

from __future__ import annotations

import copy

import torch
from recoverable import batches, pair

from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import without_dead
from automl.recovery.hooks.centripetal import Centripetal
from automl.testing import HookContract


class TestCentripetal(HookContract):
    name = "centripetal"


def test_filters_of_a_cluster_become_equal_and_merge_exactly() -> None:
    student, images = pair()[1].requires_grad_(True), batches()[0][0]
    hook = Centripetal(share=0.5, until=0.5)
    hook.start(student, HookPlan(images))
    optimiser = torch.optim.SGD(student.parameters(), 0.01)
    for step in range(20):
        optimiser.zero_grad()
        student(images).square().mean().backward()  # type: ignore[union-attr]
        moment = Moment(step, (step + 0.5) / 20, 0.01)
        hook.before_step(student, moment)
        optimiser.step()
        hook.after_step(student, moment)
    filters = student.blocks[0].conv1.weight.detach().flatten(1)  # type: ignore[union-attr, operator]
    assert len(filters.unique(dim=0)) == 4
    assert len(student.stem.weight.detach().flatten(1).unique(dim=0)) == 4
    student.requires_grad_(False)
    before = copy.deepcopy(student)
    assert hook.finish(student) == "centripetal: 12 of 24 channels are merged into others"
    torch.testing.assert_close(student(images), before(images), rtol=1e-4, atol=1e-4)
    smaller, gone, _ = without_dead(student, images)
    assert gone == 12
    torch.testing.assert_close(smaller(images), before(images), rtol=1e-4, atol=1e-4)


def test_filters_that_are_equal_are_one_cluster() -> None:
    student, images = pair()[1].requires_grad_(False), batches()[0][0]
    block = student.blocks[0]
    for layer in (block.conv1, block.bn1):  # type: ignore[union-attr]
        for value in layer.state_dict().values():  # type: ignore[union-attr]
            if value.dim():
                value[3] = value[6]
    before = student(images)
    hook = Centripetal(share=0.125)
    hook.start(student, HookPlan(images))
    hook._groups, hook._clusters = zip(  # type: ignore[assignment]
        *[
            each
            for each in zip(hook._groups, hook._clusters, strict=True)
            if each[0].name == "blocks.0.conv1"
        ],
        strict=True,
    )
    hook.finish(student)
    torch.testing.assert_close(student(images), before, rtol=1e-4, atol=1e-5)
    assert student.blocks[0].conv2.weight[:, 6].abs().max() == 0  # type: ignore[union-attr, index]
