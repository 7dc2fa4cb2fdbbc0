"""A supernet: one network trained so that its slices stand for networks of a space."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from automl.compression import resized
from automl.errors import DataError
from automl.network import output_tensors, re_estimate_norms
from automl.policy import Policy
from automl.recovery.base import Step
from automl.recovery.checkpoint import identity_of, load_checkpoint, save_checkpoint
from automl.recovery.loop import FEWEST, RecoveryData
from automl.recovery.recipe import RecoveryRecipe
from automl.recovery.sliced_weights import SlicedWeights
from automl.space import Space
from automl.userdata import seeded

Tensor = torch.Tensor
#: Networks between the largest and the smallest that a step draws.
_DRAWN: Final = 2
#: A checkpoint is written after so many seconds of training.
_EVERY: Final = 20.0
#: Epochs have seeds of their own, as in a recovery.
_STRIDE: Final = 1_000_003


@dataclass(frozen=True, slots=True)
class TrainingLimit:
    """How long a supernet is trained.

    Attributes:
        steps: Batches; 0 where the time says it.
        seconds: Of training, over all runs that it took; 0 where the steps say it.
    """

    steps: int = 0
    seconds: float = 0.0

    def share(self, steps: int, seconds: float) -> float:
        """How much of it is done."""
        return min(1.0, steps / self.steps if self.steps else seconds / self.seconds)


@dataclass(slots=True)
class _Progress:
    """What changes from step to step, and is written."""

    epoch: int = 0
    position: int = 0
    step: int = 0
    seconds: float = 0.0


class Supernet:
    """Trained by the sandwich rule; what a policy's network is worth is told by its slice.

    A step trains the largest network, the smallest one and two that are drawn, all on one batch.
    The largest learns from the dense network, the others from what the largest says (in-place
    distillation). A slice takes the statistics of its norms again before it is scored.

    Source: Yu and Huang, Universally Slimmable Networks, 2019 (sandwich rule, in-place
    distillation); Yu et al., BigNAS, 2020. Differs: the largest begins trained, and learns from
    itself as it was in place of labels; minutes in place of hundreds of epochs.

    Args:
        shared: The weights.
        space: Of channels, blocks and resolutions; policies are drawn from it.
        dense: The traced model.
        data: What is trained on; its held-back score is not read.
        inputs: What slices' norms take their statistics on, [images, ...] each.
        classes: Whether outputs of rows are scores of classes.
    """

    def __init__(
        self,
        shared: SlicedWeights,
        space: Space,
        dense: nn.Module,
        data: RecoveryData,
        inputs: Sequence[Tensor],
        *,
        classes: bool = True,
    ) -> None:
        self._shared, self._space, self._dense = shared, space, dense
        self._data, self._inputs, self._classes = data, inputs, classes
        self._recipe = RecoveryRecipe()
        (self._term,) = self._recipe.made_terms()
        self._smallest = space.decode(space.canonical(np.zeros_like(space.dense)))
        self._progress = _Progress()

    def __call__(self, policy: Policy) -> nn.Module:
        """The slice of a policy, its norms re-estimated, in evaluation mode."""
        model = self._shared.slice(policy).model.requires_grad_(False)
        re_estimate_norms(model, [resized(each, policy.resolution) for each in self._inputs])
        return model

    def train(
        self,
        limit: TrainingLimit,
        checkpoint: Path,
        on_share: Callable[[float], None] = lambda share: None,
    ) -> int:
        """Train, or go on where a checkpoint left off; how many steps were made in all.

        With a limit of steps what was killed ends with the same weights.

        Args:
            limit: How long.
            checkpoint: Written as it goes and at the end, and kept.
            on_share: Told how much is done after each step.

        Raises:
            DataError: There is no training data, or the loss is not finite.
            StudyError: The checkpoint is of another supernet, or broken.
            OSError: It cannot be written.
        """
        model, progress = self._shared.model.requires_grad_(True), self._progress
        data = self._data
        told = (limit, self._space.digest, data.seed, data.digest, self._recipe.digest)
        identity = identity_of(model, *told)
        optimiser = torch.optim.SGD(
            model.parameters(),
            self._recipe.learning_rate,
            self._recipe.momentum,
            weight_decay=self._recipe.weight_decay,
            nesterov=True,
        )
        state = load_checkpoint(checkpoint, identity)
        if state is not None:
            model.load_state_dict(state["model"])
            optimiser.load_state_dict(state["optimiser"])
            for each in fields(_Progress):
                setattr(progress, each.name, state[each.name])

        def save() -> None:
            save_checkpoint(checkpoint, identity, self._state(optimiser))

        while limit.share(progress.step, progress.seconds) < 1:
            self._epoch(limit, optimiser, save, on_share)
        save()
        model.requires_grad_(False).eval()
        return progress.step

    def _epoch(
        self,
        limit: TrainingLimit,
        optimiser: torch.optim.SGD,
        save: Callable[[], None],
        on_share: Callable[[float], None],
    ) -> None:
        """The rest of a pass over the data."""
        progress, saved, number = self._progress, self._progress.seconds, -1
        last = time.monotonic()
        seed = (self._data.seed + _STRIDE * (progress.epoch + 1)) % (1 << 63)
        with seeded(seed, *self._data.loaders):
            for number, (inputs, _) in enumerate(self._data.training):
                share = limit.share(progress.step, progress.seconds)
                if share >= 1:
                    return
                if number < progress.position:  # made before the run was ended
                    last = time.monotonic()
                    continue
                self._step(inputs, optimiser, self._recipe.rate_at(share))
                progress.step, progress.position = progress.step + 1, number + 1
                now = time.monotonic()
                progress.seconds, last = progress.seconds + now - last, now
                if progress.seconds - saved > _EVERY:
                    saved = progress.seconds
                    save()
                on_share(limit.share(progress.step, progress.seconds))
        if number < 0:
            raise DataError("there is no training data for a supernet")
        progress.epoch, progress.position = progress.epoch + 1, 0

    def _step(self, inputs: Tensor, optimiser: torch.optim.SGD, rate: float) -> None:
        """The largest, the smallest, and two between, on one batch."""
        model = self._shared.model
        optimiser.zero_grad()
        with torch.no_grad():
            aims = _floats(self._dense(inputs))
        aims = self._learn(model, inputs, aims)
        generator = np.random.default_rng((self._data.seed, self._progress.step))
        drawn = [self._space.decode(each) for each in self._space.random(_DRAWN, generator)]
        for policy in (self._smallest, *drawn):
            part = self._shared.slice(policy)
            self._learn(part.model, resized(inputs, policy.resolution), aims)
            self._shared.add_gradients(part)
        for group in optimiser.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(model.parameters(), self._recipe.clip)
        optimiser.step()

    def _learn(self, model: nn.Module, inputs: Tensor, aims: list[Tensor]) -> list[Tensor]:
        """Add the gradients of a network that is to say what is aimed at; what it says."""
        for module in model.modules():
            normed = isinstance(module, nn.modules.batchnorm._BatchNorm)
            module.training = normed and len(inputs) >= FEWEST
        found = _floats(model(inputs))
        step = Step(inputs, None, found, [aims], classes=self._classes, student=model)
        loss = self._term(step)
        if not torch.isfinite(loss):
            raise DataError(f"the supernet's loss was not finite at step {self._progress.step + 1}")
        loss.backward()
        return [each.detach() for each in found]

    def _state(self, optimiser: torch.optim.SGD) -> dict[str, Any]:
        progress = self._progress
        return {
            "model": self._shared.model.state_dict(),
            "optimiser": optimiser.state_dict(),
            **{each.name: getattr(progress, each.name) for each in fields(_Progress)},
        }


def _floats(output: object) -> list[Tensor]:
    return [each for each in output_tensors(output) if each.is_floating_point()]
