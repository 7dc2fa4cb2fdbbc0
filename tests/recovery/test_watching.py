"""What a hook masks takes no part of the length that a step's gradients are held to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recoverable import batches, pair
from torch import Tensor, nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import find_channels
from automl.recovery.hooks.registry import HOOKS
from automl.recovery.watching import WatchingHook

RATE = 1e-3
#: Each at a share of the training: all of a hook's parts are met.
SHARES = (0.05, 0.3, 0.55, 0.75, 0.95)


def begun(name: str) -> tuple[Any, nn.Module]:
    """A hook on a network that has zeros."""
    student = pair()[1].requires_grad_(True)
    with torch.no_grad():
        student.stem.weight[:, 1] = 0
    hook = HOOKS.build(name)
    hook.start(student, HookPlan(batches()[0][0]))
    return hook, student


def gradients(student: nn.Module) -> dict[str, Tensor]:
    """Of the student's parameters, of one batch."""
    student.zero_grad()
    student(batches()[0][0]).square().sum().backward()
    return {
        name: torch.zeros_like(each) if each.grad is None else each.grad.clone()
        for name, each in student.named_parameters()
    }


@pytest.mark.parametrize("name", [each for each in HOOKS.ours if each != "progressive-bits"])
def test_whatever_has_a_gradient_when_they_are_clipped_learns_from_it(name: str) -> None:
    hook, student = begun(name)
    optimiser = torch.optim.SGD(student.parameters(), RATE)
    for step, share in enumerate(SHARES):
        moment = Moment(step, share, RATE)
        hook.before_batch(student, moment)
        clipped = gradients(student)
        hook.before_step(student, moment)
        before = {key: each.detach().clone() for key, each in student.named_parameters()}
        for key, each in student.named_parameters():
            assert each.grad is not None
            assert not ((each.grad == 0) & (clipped[key] != 0)).any(), key
        optimiser.step()
        moved = {
            key: (each.detach() != before[key]) | (RATE * clipped[key].abs() < 1e-6)
            for key, each in student.named_parameters()
        }
        hook.after_step(student, moment)
        for key, each in student.named_parameters():
            back = (each.detach() == before[key]) & moved[key] & (clipped[key].abs() > 1e-3)
            assert not back.any(), key
        hook.after_epoch(student, moment)
    hook.finish(student)
    hook.detach(student)
    assert not any(each._backward_hooks for each in student.parameters())


@pytest.mark.parametrize(
    "name",
    ["keep-zeros", "freeze-progressive", "surgery", "iht", "admm", "dropconnect", "zero-out"],
)
def test_what_is_masked_has_no_gradient_and_all_of_it_once_the_hook_is_gone(name: str) -> None:
    hook, student = begun(name)
    assert isinstance(hook, WatchingHook)
    hook.before_batch(student, Moment(0, 0.97, RATE))
    masked = gradients(student)
    WatchingHook.detach(hook, student)  # what it shows the batch to stays
    whole = gradients(student)
    gone = {key: (each == 0) & (whole[key] != 0) for key, each in masked.items()}
    assert any(each.any() for each in gone.values())
    for key, each in masked.items():
        factor = 1 / 0.9 if name == "dropconnect" and key.endswith("weight") else 1.0
        left = ~gone[key] & (each.dim() > 1)
        torch.testing.assert_close(each[left], factor * whole[key][left], rtol=1e-4, atol=1e-4)


def test_channels_are_watched_by_their_group_and_part() -> None:
    student = pair()[1].requires_grad_(True)
    groups, seen = find_channels(student, batches()[0][0]), set[tuple[int, str]]()

    def note(number: int, part: Any, gradient: Tensor) -> None:
        seen.add((number, part.name))

    hook = WatchingHook()
    hook.watch_channels(student, groups, note)
    gradients(student)
    assert seen == {(n, part.name) for n, group in enumerate(groups) for part in group.written}
