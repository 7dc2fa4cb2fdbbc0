"""Hooks of a training: told in order, also in a loop of one's own, taken off after an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import Hook, HookPlan, Moment
from automl.recovery.hooking import Hooks, hooked_losses, made_hooks
from automl.recovery.loop import RecoveryData, recover
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe
from automl.recovery.terms.registry import TERMS


class Noting(Hook):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        self.told.append(("start", plan.seed))

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        self.told.append(("batch", moment.step))

    def before_step(self, model: nn.Module, moment: Moment) -> None:
        assert all(each.grad is not None for each in model.parameters())
        self.told.append(("before", moment.rate))

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        self.told.append(("after", moment.share))

    def after_epoch(self, model: nn.Module, moment: Moment) -> None:
        self.told.append(("epoch", moment.share))

    def finish(self, model: nn.Module) -> str:
        self.told.append(("finish", 0))
        return "noted"

    def detach(self, model: nn.Module) -> None:
        self.told.append(("detach", 0))


def objective() -> Objective:
    teacher, student = pair()
    return Objective(student.requires_grad_(True), (teacher,), [TERMS.build("kd")])


def test_a_loop_of_ones_own_tells_them_of_its_steps() -> None:
    noting, trained = Noting(), objective()
    assert len([*trained.parameters()]) == len([*trained.student.parameters()])
    optimiser = torch.optim.SGD(trained.parameters(), 0.05)
    other = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.5)
    found = []
    for loss in hooked_losses(trained, batches(count=2), 2, Hooks([noting], seed=7)):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        other.step()  # of another network: nobody is told
        found.append(loss.item())
    assert found[-1] < found[0]
    step = ["batch", "before", "after"]
    names = [name for name, _ in noting.told]
    assert names == ["start", *2 * [*step, *step, "epoch"], "finish", "detach"]
    assert [value for name, value in noting.told if name == "before"] == [0.05] * 4
    assert [value for name, value in noting.told if name == "after"] == [0.0, 0.25, 0.5, 0.75]
    assert noting.told[0] == ("start", 7)
    told = len(noting.told)
    optimiser.step()
    assert len(noting.told) == told


def test_they_are_taken_off_after_an_error() -> None:
    noting = Noting()
    losses: Iterator[Any] = hooked_losses(objective(), batches(), 2, Hooks([noting]))
    next(losses)
    with pytest.raises(RuntimeError, match="mine"):
        losses.throw(RuntimeError("mine"))  # type: ignore[attr-defined]
    assert noting.told[-1] == ("detach", 0)
    assert ("finish", 0) not in noting.told


def test_what_is_misspelt_or_named_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean soft-mask"):
        made_hooks(["soft-masks"])
    with pytest.raises(UsageError, match="hook soft-mask is named twice"):
        made_hooks(["soft-mask", "soft-mask:share=0.5"])


def test_what_leaves_zeros_is_kept_though_its_score_is_worse() -> None:
    for hooks, kept in (((), "first"), (("zero-out",), "last")):
        scores = iter([2.0, 1.0])
        recipe = RecoveryRecipe(epochs=2, hooks=hooks)
        found = recover(objective(), RecoveryData(batches(), lambda _, s=scores: next(s)), recipe)
        assert found.kept == kept


def test_a_network_without_channels_to_choose_is_refused() -> None:
    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    trained = Objective(student, (student,), [TERMS.build("kd")])
    with pytest.raises(UsageError, match="no group of channels"):
        recover(trained, RecoveryData(batches()), RecoveryRecipe(hooks=("zero-out",)))


def test_the_best_epoch_is_not_kept_where_a_hook_is_done_after_the_last() -> None:
    recipe = RecoveryRecipe(hooks=("zero-out",), patience=3)
    with pytest.raises(UsageError, match="zero-out is done with its work after the last"):
        recover(objective(), RecoveryData(batches()), recipe)
