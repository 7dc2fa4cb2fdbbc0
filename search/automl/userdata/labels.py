"""Targets held against a model's outputs: what the score is where none is asked for."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from automl.errors import DataError, Raised, attempt
from automl.userdata.data import Batches, Data
from automl.userdata.passes import in_passes
from automl.userdata.scores import class_indices, only_tensor

Tensor = torch.Tensor


def without_classes(model: nn.Module, data: Data) -> str:
    """Why accuracy cannot be the score: the targets are no classes of the outputs; "" where it can.

    Raises:
        DataError: The targets are class indices, and some are no class of the model's.
    """
    batch, targets = next(iter(data.validation))
    if all(each is None for _, each in data.validation):
        return "the data has no labels"
    with torch.no_grad():
        outputs = attempt(lambda: only_tensor(in_passes(model, batch[:2])))
    if isinstance(outputs, Raised):
        return f"{outputs.error.args[0].partition(':')[0]}"
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        return f"the outputs are of shape {tuple(outputs.shape[1:])}, not one number a class"
    found = attempt(lambda: class_indices(batch, targets))
    if isinstance(found, Raised):
        return str(found.error).partition(":")[0]
    for part, batches in (("validation", data.validation), ("test", data.test)):
        if batches is not None:
            check_classes(batches, outputs.shape[1], part)
    return ""


def tensor_of_targets(batches: Batches) -> Tensor | None:
    """All targets of batches as one tensor, one an input: class indices, or pictures.

    None where they are neither, or where there are none. Inputs are not decoded for it.
    """
    found = []
    for inputs, targets in batches.pairs:
        if isinstance(targets, Tensor) and targets.dim() > 2 and targets.is_floating_point():
            found.append(targets)
            continue
        classes = None if targets is None else attempt(partial(class_indices, inputs, targets))
        if classes is None or isinstance(classes, Raised):
            return None
        found.append(classes)
    alike = len({(each.shape[1:], each.is_floating_point()) for each in found}) == 1
    return torch.cat(found) if alike else None


def has_classes(model: nn.Module, data: Data) -> bool:
    """Whether the model's outputs are scores of classes, as the targets have them."""
    found = attempt(lambda: without_classes(model, data))
    return isinstance(found, Raised) or not found  # labels out of range are of classes too


def check_classes(batches: Batches, outputs: int, part: str) -> None:
    """Hold class indices against the number of outputs.

    Raises:
        DataError: Some are no output's: below 0, or beyond the last; or a batch has other targets.
    """
    labels = torch.cat([class_indices(inputs, targets) for inputs, targets in batches])
    low, high = int(labels.min()), int(labels.max())
    wrong = int(((labels < 0) | (labels >= outputs)).sum())
    if not wrong:
        return
    share = f"{wrong:,} of {len(labels):,} {part} labels are no class of the model's"
    known = f"it has {outputs} outputs, 0 to {outputs - 1}"
    if low < 0:
        ignored = " (which marks what is to be ignored: leave those inputs out)" * (low == -100)
        raise DataError(f"{share}: the lowest is {low}{ignored}, and {known}", options=("score",))
    counted = " (they count from 1: subtract 1)" * (low == 1 and high == outputs)
    raise DataError(f"{share}: the highest is {high}{counted}, and {known}", options=("score",))
