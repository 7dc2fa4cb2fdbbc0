"""The hooks of one training: started on its first batch, told of each step, and their state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import length_hint
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from automl.errors import UsageError
from automl.recovery.base import Hook, HookPlan, Moment
from automl.recovery.formed import FormedStudent
from automl.recovery.hooks.registry import HOOKS
from automl.recovery.layer_weights import listed
from automl.recovery.objective import Objective

Tensor = torch.Tensor


def made_hooks(texts: Sequence[str]) -> tuple[Hook, ...]:
    """Hooks as they are written: "soft-mask", "soft-mask:share=0.5".

    Raises:
        UsageError: There is none of that name, or it does not take an option or its value; one is
            named twice.
    """
    names = [HOOKS.check(text).name for text in texts]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"the hook {twice[0]} is named twice")
    return tuple(HOOKS.build(text) for text in texts)


class Hooks:
    """Several hooks as one.

    Of a student with layers of forms they see the network inside, and are told which layers these
    are: their weights and shapes are not theirs to change as far as the form holds them.

    Args:
        hooks: In the order in which they are told.
        seed: Of what they draw.
    """

    def __init__(self, hooks: Sequence[Hook], seed: int = 0) -> None:
        self._hooks, self._seed = tuple(hooks), seed
        self._begun, self._left = False, ""
        self._restored: Sequence[dict[str, Any]] = ()

    def __bool__(self) -> bool:
        return bool(self._hooks)

    @property
    def leave(self) -> bool:
        """Whether any leaves something in the weights."""
        return any(hook.leaves for hook in self._hooks)

    def begin(self, model: nn.Module, inputs: Tensor) -> None:
        """Start them, once; with the state that was given back.

        Args:
            model: What is trained.
            inputs: As it is shown them, [images, ...].

        Raises:
            UsageError: One can do nothing on this network.
        """
        if self._begun:
            return
        made, masked = dict[str, str](), dict[str, str]()
        if isinstance(model, FormedStudent) and self._hooks:
            model.zero_masked()
            made, masked = model.made, model.masked
            self._left = _told_left(self._hooks, made, masked)
        for number, hook in enumerate(self._hooks):
            plan = HookPlan(inputs.detach(), self._seed + number, made, masked)
            hook.start(_inside(model), plan)
            if self._restored:
                hook.restore(self._restored[number])
        self._begun = True

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """As `Hook.before_batch`."""
        for hook in self._hooks:
            hook.before_batch(_inside(model), moment)

    def before_step(self, model: nn.Module, moment: Moment) -> None:
        """As `Hook.before_step`."""
        for hook in self._hooks:
            hook.before_step(_inside(model), moment)

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """As `Hook.after_step`."""
        for hook in self._hooks:
            hook.after_step(_inside(model), moment)

    def after_epoch(self, model: nn.Module, moment: Moment) -> None:
        """As `Hook.after_epoch`."""
        for hook in self._hooks:
            hook.after_epoch(_inside(model), moment)

    def finish(self, model: nn.Module) -> tuple[str, ...]:
        """As `Hook.finish`, where they were started; what there is to say."""
        told = [hook.finish(_inside(model)) for hook in self._hooks] if self._begun else []
        return tuple(filter(None, (*told, self._left)))

    def detach(self, model: nn.Module) -> None:
        """As `Hook.detach`."""
        for hook in self._hooks:
            hook.detach(_inside(model))

    def state(self) -> list[dict[str, Any]]:
        """Of each."""
        return [hook.state() for hook in self._hooks]

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Have them begin with these."""
        self._restored = states


def _inside(model: nn.Module) -> nn.Module:
    """The network whose layers have weights of their own: of layers of forms, that inside."""
    return model.network if isinstance(model, FormedStudent) else model


def _told_left(hooks: Sequence[Hook], made: Mapping[str, str], masked: Mapping[str, str]) -> str:
    """What hooks have left as it is, for people."""
    acts = {hook.acts_on for hook in hooks}
    held = {**made, **masked} if "channels" in acts else made if "weights" in acts else {}
    if not held:
        return ""
    what = "the channels" if "channels" in acts else "the weights"
    return f"hooks left {what} of {len(held)} layers as they are: forms hold them ({listed(held)})"


def hooked_losses(
    objective: Objective,
    batches: Iterable[tuple[Tensor, Any]],
    epochs: int,
    hooks: Hooks,
) -> Iterator[Tensor]:
    """The loss of each batch for a loop that steps by itself, by any optimiser of torch's.

    The hooks are told of the steps of every optimiser that has weights of the student.
    """
    student, done, length = objective.student, 0, length_hint(batches, 0)
    moment = Moment(0, 0.0, 0.0)
    with _told_of_steps(student, hooks, lambda: moment) as rate:
        try:
            for epoch in range(epochs):
                for inputs, targets in batches:
                    share = done / (epochs * length) if length else epoch / epochs
                    moment = Moment(done, min(share, 1.0), rate())
                    hooks.begin(student, objective.shown(inputs))
                    hooks.before_batch(student, moment)
                    yield objective(inputs, targets)
                    done += 1
                length = length or done
                hooks.after_epoch(student, Moment(done, (epoch + 1) / epochs, rate()))
            hooks.finish(student)
        finally:
            hooks.detach(student)


@contextmanager
def _told_of_steps(
    student: nn.Module, hooks: Hooks, now: Callable[[], Moment]
) -> Iterator[Callable[[], float]]:
    """Tell hooks of steps while the block runs; gives what says the learning rate of the last."""
    ours, rates = {id(each) for each in student.parameters()}, [0.0]

    def moment_of(optimiser: torch.optim.Optimizer) -> Moment | None:
        for group in optimiser.param_groups:
            if any(id(each) in ours for each in group["params"]):
                rates[0] = float(group["lr"])
                return Moment(now().step, now().share, rates[0])
        return None

    def before(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        moment = moment_of(optimiser)
        if moment is not None:
            hooks.before_step(student, moment)

    def after(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        moment = moment_of(optimiser)
        if moment is not None:
            hooks.after_step(student, moment)

    handles = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        yield lambda: rates[0]
    finally:
        for handle in handles:
            handle.remove()
