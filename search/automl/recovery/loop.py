"""Recovery: a compressed network trained for a while, most often with the dense one as teacher."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import length_hint
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from automl.errors import DataError
from automl.recovery.averages import Averages, restate_norms
from automl.recovery.base import Moment, TrainedRounding, TrainingPoint
from automl.recovery.checkpoint import identity_of, load_checkpoint, save_checkpoint
from automl.recovery.hooking import Hooks
from automl.recovery.objective import Objective
from automl.recovery.recipe import RecoveryRecipe
from automl.recovery.repeatable import repeatable
from automl.userdata import seeded

Tensor = torch.Tensor
#: Batches of fewer inputs have no statistics worth the name: norms stay as they are.
FEWEST: Final = 8
#: Kinds of modules that behave otherwise while they are trained, and are meant to.
_NORMS: Final = nn.modules.batchnorm._BatchNorm
#: Epochs have seeds of their own: one that is begun again after a kill draws what it drew.
_STRIDE: Final = 1_000_003


@dataclass(frozen=True, slots=True)
class RecoveryData:
    """What a recovery runs on.

    Attributes:
        training: Batches of (inputs, targets), iterated once an epoch.
        held_back: Score of a network on data that is not trained on, larger is better; None where
            there is none, and what was trained is believed.
        loaders: The user's own loaders behind the batches, whose generators are seeded each epoch.
        seed: Of the order of the data.
        digest: Tells this data from other data: a checkpoint made on other data is refused.
    """

    training: Iterable[tuple[Tensor, Any]]
    held_back: Callable[[nn.Module], float] | None = None
    loaders: Sequence[object] = ()
    seed: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery came to.

    Attributes:
        steps: Done.
        losses: Mean of each epoch.
        before, after: Held-back scores of the first weights and of those that the student has now;
            None where nothing is held back.
        reached: Of the weights that were trained, kept or not.
        kept: Whose weights the student has: "last", "best", or "first" where training made the
            score no better.
        stopped: Why it ended early; "" where it did not.
        seconds: Wall time.
        told: What its hooks came to.
    """

    steps: int
    losses: tuple[float, ...]
    before: float | None
    after: float | None
    reached: float | None
    kept: str
    stopped: str
    seconds: float
    told: tuple[str, ...] = ()


@dataclass(slots=True)
class _Progress:
    """What changes from epoch to epoch, and is written."""

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    before: float | None = None
    best: float | None = None
    reached: float | None = None
    since: int = 0
    stopped: str = ""


def recover(
    objective: Objective,
    data: RecoveryData,
    recipe: RecoveryRecipe,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[int, int | None], None] = lambda step, total: None,
    on_point: Callable[[TrainingPoint], None] = lambda point: None,
) -> Recovered:
    """Train the objective's student in place; where there is a GPU, there and in mixed precision.

    Norms take the statistics of batches of `FEWEST` inputs and more, and what rounds may draw; all
    else of the student stays in evaluation mode. The last weights are kept; where a held-back score
    is there to say that they are worse than the first (and the start was "keep", and no hook leaves
    something in them), the first are. A loss that is not finite ends the training with the weights
    of the last epoch that was whole.

    Args:
        objective: What is minimised.
        data: What it runs on.
        recipe: How.
        checkpoint: Written after each epoch and read at the start, so that what was killed goes on
            and ends with the same weights; removed at the end. None for none. A source that does
            not say how long it is begins anew.
        on_step: Told (steps done, steps in all where known) after each.
        on_point: Told the loss of each step, and held-back scores as they are found.

    Raises:
        DataError: There is no data, or it lacks what a loss needs.
        UsageError: A hook can do nothing on this network.
        StudyError: The checkpoint is of another recovery, or broken.
        OSError: It cannot be written.
    """
    hooks = Hooks(recipe.made_hooks(), data.seed)
    run = _Run(objective, data, recipe, hooks, checkpoint, on_step, on_point)
    try:
        with repeatable(run.device):
            return run.all()
    finally:
        hooks.detach(objective.student)
        objective.rest()


class _Run:
    """One recovery."""

    def __init__(
        self,
        objective: Objective,
        data: RecoveryData,
        recipe: RecoveryRecipe,
        hooks: Hooks,
        checkpoint: Path | None,
        on_step: Callable[[int, int | None], None],
        on_point: Callable[[TrainingPoint], None],
    ) -> None:
        self._objective, self._data, self._recipe = objective, data, recipe
        self._hooks, self._told = hooks, tuple[str, ...]()
        self._student = objective.student.requires_grad_(True)
        self._checkpoint, self._on_step, self._on_point = checkpoint, on_step, on_point
        told = (recipe.digest, data.seed, data.digest)
        self._identity = identity_of(self._student, *told) if checkpoint else ""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._student.to(self.device)
        self._optimiser = _optimiser(self._student, recipe)
        self._average = Averages(self._student, recipe.ema) if recipe.ema else None
        self._first = self._good = self._best = _copied(self._student)
        self._progress = _Progress()
        known = length_hint(data.training, -1)
        self._length: int | None = known if known >= 0 else None

    def all(self) -> Recovered:
        """From the start, or from the checkpoint, to the end."""
        start, progress = time.monotonic(), self._progress
        if not self._resume():
            progress.before = progress.best = self._held_back()
        while not self._over():
            self._epoch()
            if self._checkpoint is not None:
                save_checkpoint(self._checkpoint, self._identity, self._state())
        kept, after, reached = self._choose()
        if self._checkpoint is not None:
            self._checkpoint.unlink(missing_ok=True)
        return Recovered(
            progress.step,
            tuple(progress.losses),
            progress.before,
            after,
            reached,
            kept,
            progress.stopped,
            time.monotonic() - start,
            self._told,
        )

    def _over(self) -> bool:
        recipe, progress = self._recipe, self._progress
        done = progress.epoch >= recipe.epochs
        return done or bool(progress.stopped) or 0 < recipe.steps <= progress.step

    def _epoch(self) -> None:
        progress, recipe = self._progress, self._recipe
        seed, found = self._data.seed + _STRIDE * (progress.epoch + 1), list[float]()
        with seeded(seed % (1 << 63), *self._data.loaders):
            for number, (inputs, targets) in enumerate(self._data.training):
                if 0 < recipe.steps <= progress.step:
                    break
                loss = self._step(inputs, targets, number)
                if not math.isfinite(loss):
                    progress.stopped = (
                        f"the loss was not finite at step {progress.step + 1}: the weights are"
                        f" those of step {progress.step - number}; lower the learning rate"
                    )
                    progress.step -= number
                    self._load(self._good)
                    return
                found.append(loss)
                progress.step += 1
                self._on_point(TrainingPoint(progress.step, self._total(), loss))
                self._on_step(progress.step, self._total())
        if not found:
            raise DataError("there is no training data to recover on")
        self._length = self._length or len(found)
        progress.losses.append(sum(found) / len(found))
        progress.epoch += 1
        share = progress.epoch / recipe.epochs if self._total() is None else self._share(0)
        self._hooks.after_epoch(self._student, Moment(progress.step, share, 0.0))
        self._good = self._delivered()
        if recipe.patience:
            self._look()

    def _step(self, inputs: Tensor, targets: Any, number: int) -> float:
        rate = self._recipe.rate_at(self._share(number))
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        moment = Moment(self._progress.step, self._share(number), rate)
        inputs = inputs.to(self.device)
        self._hooks.begin(self._student, self._objective.shown(inputs))
        _train_norms(self._student, len(inputs) >= FEWEST)
        self._hooks.before_batch(self._student, moment)
        with self._mixed():
            loss = self._objective(inputs, targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._student.parameters(), self._recipe.clip)
        self._hooks.before_step(self._student, moment)
        self._optimiser.step()
        self._hooks.after_step(self._student, moment)
        if self._average is not None:
            self._average.update(self._student)
        return value

    def _mixed(self) -> torch.autocast:
        """Brain floats on a GPU that has them: they need no scaled loss."""
        able = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.autocast(self.device.type, torch.bfloat16, enabled=able)

    def _total(self) -> int | None:
        """Steps in all."""
        epochs = None if self._length is None else self._recipe.epochs * self._length
        known = [each for each in (epochs, self._recipe.steps or None) if each is not None]
        return min(known, default=None)

    def _share(self, number: int) -> float:
        """Of the training, what is done before the middle of a step of this epoch."""
        total, recipe = self._total(), self._recipe
        if total is not None:
            return min(1.0, (self._progress.step + 0.5) / total)
        if recipe.epochs == 1:
            return 0.5 * number / (number + 100)  # nobody knows how long it is
        return self._progress.epoch / recipe.epochs

    def _delivered(self) -> dict[str, Tensor]:
        """A copy of the weights that would be delivered now."""
        if self._average is None:
            return _copied(self._student)
        return {name: each.clone() for name, each in self._average.values.items()}

    def _held_back(self) -> float | None:
        """Score of the student as it is."""
        if self._data.held_back is None:
            return None
        self._objective.rest()  # the teachers too: a score may hold the student against them
        self._student.requires_grad_(False)
        score = self._data.held_back(self._student)
        self._student.requires_grad_(True).to(self.device)
        self._on_point(TrainingPoint(self._progress.step, self._total(), score=score))
        return score

    def _look(self) -> None:
        """Whether this epoch's weights are the best, and whether others are to be waited for."""
        progress, now = self._progress, _copied(self._student)
        self._load(self._good)
        score = progress.reached = self._held_back()
        if score is not None and progress.best is not None and score > progress.best:
            progress.best, progress.since, self._best = score, 0, self._good
        else:
            progress.since += 1
            if progress.since >= self._recipe.patience:
                progress.stopped = f"no better held-back score in {progress.since} epochs"
        self._load(now)

    def _choose(self) -> tuple[str, float | None, float | None]:
        """Put in the weights to keep; whose they are, their score, and that of the trained ones."""
        progress = self._progress
        if self._recipe.patience and self._data.held_back is not None:
            self._load(self._best)
            kept = "first" if self._best is self._first else "best"
            return kept, progress.best, progress.reached
        self._load(self._good)
        self._finish_hooks()
        after = self._held_back()
        worse = after is not None and progress.before is not None and after < progress.before
        if worse and self._recipe.start == "keep" and not self._hooks.leave:
            self._load(self._first)
            return "first", progress.before, after
        return "last", after, after

    def _finish_hooks(self) -> None:
        """Have them leave what they promise; killed after the last epoch, they begin once more."""
        if self._hooks and self._progress.step:
            with seeded(self._data.seed, *self._data.loaders):
                inputs, _ = next(iter(self._data.training))
            self._hooks.begin(self._student, self._objective.shown(inputs.to(self.device)))
            self._told = self._hooks.finish(self._student)
            if self._hooks.leave:
                with seeded(self._data.seed, *self._data.loaders):
                    shown = (
                        self._objective.shown(inputs.to(self.device))
                        for inputs, _ in self._data.training
                    )
                    restate_norms(self._student, shown, FEWEST)
        self._hooks.detach(self._student)

    def _load(self, values: dict[str, Tensor]) -> None:
        self._student.load_state_dict(values)

    def _state(self) -> dict[str, Any]:
        progress = self._progress
        return {
            "student": _copied(self._student),
            "optimiser": self._optimiser.state_dict(),
            "average": None if self._average is None else self._average.state(),
            "good": self._good,
            "best": None if self._best is self._first else self._best,
            "progress": {name: getattr(progress, name) for name in progress.__slots__},
            "length": self._length,
            "hooks": self._hooks.state(),
        }

    def _resume(self) -> bool:
        """Take up what a checkpoint says; False where there is none."""
        path = self._checkpoint
        found = None if path is None else load_checkpoint(path, self._identity)
        if found is None:
            return False
        self._load(found["student"])
        self._optimiser.load_state_dict(found["optimiser"])
        if self._average is not None:
            self._average.restore(**found["average"])
        self._good = found["good"]
        self._best = self._first if found["best"] is None else found["best"]
        for name, value in found["progress"].items():
            setattr(self._progress, name, value)
        self._length = found["length"]
        self._hooks.restore(found["hooks"])
        return True


def _optimiser(student: nn.Module, recipe: RecoveryRecipe) -> torch.optim.Optimizer:
    values = [*student.parameters()]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(
            values, recipe.learning_rate, (recipe.momentum, 0.999), weight_decay=recipe.weight_decay
        )
    return torch.optim.SGD(
        values,
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


def _train_norms(student: nn.Module, train: bool) -> None:
    for module in student.modules():
        module.training = (train and isinstance(module, _NORMS)) or isinstance(
            module, TrainedRounding
        )


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in model.state_dict().items()}
