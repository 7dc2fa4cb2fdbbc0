"""Calibration inputs with what is right for each, where somebody knows it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from automl.compression.memory import Images

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Labelled:
    """Inputs and their targets.

    Attributes:
        images: By number.
        targets: Class indices [images], or pictures like the outputs [images, ...].
    """

    images: Images
    targets: Tensor


def without_labels(images: Images | Labelled) -> Images:
    """The inputs alone."""
    return images.images if isinstance(images, Labelled) else images


def targets_of(images: Images | Labelled, count: int) -> Tensor | None:
    """Targets of the first inputs; None where there are none."""
    return images.targets[:count] if isinstance(images, Labelled) else None
