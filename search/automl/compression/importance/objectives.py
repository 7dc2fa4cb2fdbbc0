"""What is differentiated: the loss on labels, or the outputs themselves where nobody knows any."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from automl.errors import UsageError
from automl.network import output_rows
from automl.userdata import only_tensor

Tensor = torch.Tensor


def label_loss(outputs: Any, targets: Tensor) -> Tensor:
    """The sum over images of the cross entropy of class indices, or of pictures' mean square.

    Raises:
        UsageError: Targets that are neither.
    """
    found = only_tensor(outputs)
    if targets.dim() == 1 and not targets.is_floating_point() and found.dim() == 2:
        return F.cross_entropy(found, targets.long(), reduction="sum")
    if targets.is_floating_point() and targets.shape == found.shape:
        return (found - targets).square().flatten(1).mean(1).sum()
    raise UsageError(
        f"targets of shape {tuple(targets.shape)} are neither class indices nor pictures like the"
        f" outputs of {tuple(found.shape)}: there is no loss to differentiate",
        options=("data",),
    )


def projected(outputs: Any, here: slice, scales: Tensor, seed: int) -> Tensor:
    """The sum over images of each image's outputs times signs that are drawn for it.

    The expected square of what it makes of a change is the change's squared error.

    Args:
        outputs: Of some images.
        here: Which they are; an image has the same signs in every walk.
        scales: What squared differences of each output are divided by.
        seed: Of the signs.
    """
    rows = output_rows(outputs, here.stop - here.start)
    signs = [
        torch.randint(0, 2, rows.shape[1:], generator=_drawn(seed, number)) * 2 - 1
        for number in range(here.start, here.stop)
    ]
    return (rows * torch.stack(signs) / scales.sqrt()).sum()


def _drawn(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + number)
