"""A compressed network in the hands of its user's own training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from automl.compression import QuantizedModel, noted_forms
from automl.errors import DataError, UsageError
from automl.network import without_norms
from automl.options import CALIBRATION
from automl.recovery import (
    TERMS,
    TRAINED_QUANTIZERS,
    FormedStudent,
    Hooks,
    Objective,
    QuantizedStudent,
    hooked_losses,
    made_hooks,
    student_of_floats,
)
from automl.userdata import TrainingBatches

Tensor = torch.Tensor


def trainable(
    model: nn.Module,
    data: Iterable[Any],
    *,
    quantizer: str = "lsq",
    dense: nn.Module | None = None,
    seed: int = 0,
) -> nn.Module:
    """A copy of a compressed network that can be trained: its batch norms are back.

    Of a network with bits, what rounds it is trained with it; its norms stay folded where
    activations are rounded. Of one with layers of forms (masks, shared values, ...) these stay what
    they are: zeros of a mask stay zero, and what a form stores is trained in place of the weights.

    Its outputs are those of the model until it is trained. Train it by any recipe, then give it to
    `delivered`.

    Args:
        model: From a search or from `apply`.
        data: Batches of (inputs, targets) or of inputs, of which the norms take their statistics:
            some hundred inputs will do, and at most 2,000 are read.
        quantizer: How the rounding of a network with bits is trained, by name:
            "lsq", "ttq:threshold=0.1".
        dense: The dense network, from whose weights some quantizers and powers of two begin; None
            for none.
        seed: Of what quantizers draw.

    Raises:
        UsageError: No such quantizer, or it rounds none of the network's layers; bits and forms of
            few numbers in one network, or a form whose numbers cannot be trained.
        DataError: A batch is not as described, or there is none.
        ModelError: The model cannot be copied.
    """
    if isinstance(model, QuantizedModel):
        if noted_forms(model):
            raise UsageError("a network that has bits and forms of few numbers is not trained")
        inputs = [*_first(data, CALIBRATION)]
        if not inputs:
            raise DataError("there are no inputs to see that the network can be trained on")
        built = TRAINED_QUANTIZERS.build(quantizer)
        return QuantizedStudent(model, built, inputs, dense=dense, seed=seed)
    return student_of_floats(model, _first(data, CALIBRATION), dense)


def delivered(model: nn.Module) -> nn.Module:
    """A copy of a trained network with its norms folded again, in evaluation mode.

    Of one with bits: the `QuantizedModel` that computes what was trained.

    Its tensors are named and shaped as those of the model that `trainable` was given: it is priced,
    exported and written as that one.

    Args:
        model: From `trainable`, out of what it was wrapped in.

    Raises:
        ModelError: It is another network.
    """
    if isinstance(model, QuantizedStudent | FormedStudent):
        return model.frozen()
    return without_norms(model)


def recover(
    student: nn.Module,
    teachers: nn.Module | Sequence[nn.Module],
    data: Iterable[Any],
    terms: str = "kd",
    *,
    hooks: Sequence[str] = (),
    epochs: int = 1,
    resolution: int = 0,
    classes: bool = True,
) -> Iterator[Tensor]:
    """The loss of each batch, for a training loop of your own: you step, at any rate.

    Optimiser, schedule, devices and checkpoints are the loop's. Teachers are put into evaluation
    mode, and follow the inputs to their device.

    Args:
        student: From `trainable`.
        teachers: The dense network, or several, that one first.
        data: Batches of (inputs, targets) or of inputs, iterated once an epoch.
        terms: Losses that are added, by name: "kd", "kd+hints", "labels+kd:temperature=2".
        hooks: What is done between your steps, by name: ("zero-out:share=0.3",). They are told of
            the steps of any optimiser of torch's that has the student's weights, and are done when
            the losses have ended.
        epochs: Passes over the data.
        resolution: What the student's inputs are resized to; 0 for none.
        classes: Whether outputs of rows are scores of classes; else they are numbers, such as
            embeddings.

    Raises:
        UsageError: No such term or hook (names the nearest), or a hook that can do nothing here.
        DataError: A batch is not as described, or lacks what a term needs.
    """
    made = [TERMS.build(text) for text in terms.split("+")]
    several = [teachers] if isinstance(teachers, nn.Module) else [*teachers]
    for teacher in several:
        teacher.eval()
    objective = Objective(student, several, made, resolution=resolution, classes=classes)
    return hooked_losses(objective, TrainingBatches(data, None), epochs, Hooks(made_hooks(hooks)))


def _first(data: Iterable[Any], inputs: int) -> Iterator[Tensor]:
    """Inputs of batches until there are so many."""
    seen = 0
    for batch, _ in TrainingBatches(data, None):
        yield batch
        seen += len(batch)
        if seen >= inputs:
            return
