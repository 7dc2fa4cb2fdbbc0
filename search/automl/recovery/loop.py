"""Recovery: a compressed network trained for a while with the dense one as its teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F

from automl.compression import resized
from automl.errors import DataError
from automl.network import output_tensors

Tensor = torch.Tensor
#: Smallest mean square that a difference is divided by.
_SMALL: Final = 1e-12


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """Knobs of the training.

    Attributes:
        epochs: Passes over the data.
        learning_rate: At the start; falls to zero along a cosine.
        momentum, weight_decay: Of SGD.
        temperature: Of the teacher's and the student's logits.
        clip: Largest norm of a step's gradients.
        classes: Whether outputs of rows are scores of classes; else they are numbers, such as
            embeddings.
    """

    epochs: int = 10
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    temperature: float = 4.0
    clip: float = 1.0
    classes: bool = True


def recover(
    student: nn.Module,
    teacher: nn.Module,
    batches: Iterable[tuple[Tensor, Any]],
    *,
    resolution: int = 0,
    settings: RecoverySettings | None = None,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:
    """Train the student in place towards the teacher's outputs; labels are not needed.

    Batch norms are folded by now, so nothing but weights and biases changes.

    Args:
        student: The compressed network.
        teacher: The dense network, shown the same inputs at the dense resolution.
        batches: Training data, iterated once per epoch; targets are not read.
        resolution: The student's input size; 0 for the dense one.
        settings: Knobs.
        on_epoch: Told (epochs done, mean loss) after each.

    Raises:
        DataError: The loss is not finite, or there is no data.
    """
    chosen = settings or RecoverySettings()
    for parameter in student.parameters():
        parameter.requires_grad_(True)
    optimiser = torch.optim.SGD(
        student.parameters(),
        lr=chosen.learning_rate,
        momentum=chosen.momentum,
        weight_decay=chosen.weight_decay,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(chosen.epochs, 1))
    try:
        for epoch in range(chosen.epochs):
            losses = [
                _step(student, teacher, inputs, resolution, optimiser, chosen)
                for inputs, _ in batches
            ]
            if not losses:
                raise DataError("there is no training data to recover on")
            schedule.step()
            on_epoch(epoch + 1, sum(losses) / len(losses))
    finally:
        for parameter in student.parameters():
            parameter.requires_grad_(False)


def _step(
    student: nn.Module,
    teacher: nn.Module,
    inputs: Tensor,
    resolution: int,
    optimiser: torch.optim.Optimizer,
    settings: RecoverySettings,
) -> float:
    with torch.no_grad():
        aim = teacher(inputs)
    found = student(resized(inputs, resolution))
    pairs = zip(_floats(found), _floats(aim), strict=True)
    loss = torch.stack([distance(*pair, settings) for pair in pairs]).sum()
    if not torch.isfinite(loss):
        raise DataError("recovery diverged: the loss is not finite; lower the learning rate")
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), settings.clip)
    optimiser.step()
    return float(loss.detach())


def _floats(output: object) -> list[Tensor]:
    return [each for each in output_tensors(output) if each.is_floating_point()]


def distance(found: Tensor, aim: Tensor, settings: RecoverySettings) -> Tensor:
    """How far outputs are from the teacher's, [images, ...].

    Kullback-Leibler divergence of softened class scores; mean squares of maps and tokens; of rows
    that are no classes mean squares relative to the aim's, for their scale is anything.
    """
    if found.dim() != 2:
        return F.mse_loss(found, aim)
    if not settings.classes:
        return F.mse_loss(found, aim) / aim.square().mean().clamp_min(_SMALL)
    temperature = settings.temperature
    soft = F.kl_div(
        F.log_softmax(found / temperature, 1),
        F.log_softmax(aim / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return soft * temperature**2
