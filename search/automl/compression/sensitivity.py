"""What each choice does to the network's outputs when it is made alone: measured, not estimated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from automl.compression.database import Database, read_patch, write_patch
from automl.compression.quantization.bits_sensitivity import BitsSensitivity
from automl.compression.quantization.joint_database import JointDatabase
from automl.errors import SpaceError
from automl.network import remove
from automl.policy import Policy
from automl.space import Sensitivity, Space, Variable

Tensor = torch.Tensor


def measure_sensitivity(
    database: Database,
    space: Space,
    images: Tensor,
    *,
    rounded: JointDatabase | None = None,
    on_choice: Callable[[int, int], None] = lambda done, total: None,
) -> Sensitivity:
    """The sensitivity of every choice alone, and the interaction of bits and channels.

    Args:
        database: Candidates' weights; a copy of its model is changed and restored, choice by
            choice.
        space: The choices.
        images: Calibration inputs; a few dozen are enough.
        rounded: The database's rounded weights, for spaces with bits.
        on_choice: Told (choices done, choices in all).

    Returns:
        Mean squared difference of the outputs, relative to the variance of the dense outputs.

    Raises:
        SpaceError: The space has bits, and there are no rounded weights.
        QuantizationError: Activations that are constant or not finite; it names the layer.
    """
    # results may be made from the database after an interruption, which could leave a choice in it
    model = copy.deepcopy(database.model)
    dense = outputs(model, images)
    variance = float(dense.var(0).mean().clamp_min(1e-12)) if dense.shape[0] > 1 else 1.0
    total = sum(len(variable.options) for variable in space.variables)
    sensitivity, done = [], 0

    def relative(changed: Tensor) -> float:
        return float((changed - dense).square().mean()) / variance

    def told() -> None:
        nonlocal done
        on_choice(done := done + 1, total)

    bits = _bits_sensitivity(rounded, space, lambda made: relative(outputs(made, images)), model)
    for variable in space.variables:
        if bits and variable.kind == "bits":
            row = bits.row(variable, told)
        else:
            row = np.zeros(len(variable.options))
            for index, option in enumerate(variable.options[:-1]):
                row[index] = relative(_outputs_with(model, database, variable, option, images))
                told()
        done += 1
        sensitivity.append(row)
    return Sensitivity(
        tuple(sensitivity), images.shape[0], bits.pairwise(sensitivity) if bits else ()
    )


def _bits_sensitivity(
    rounded: JointDatabase | None,
    space: Space,
    sensitivity_of: Callable[[nn.Module], float],
    model: nn.Module,
) -> BitsSensitivity | None:
    if not space.of_kind("bits"):
        return None
    if rounded is None:
        raise SpaceError(
            "the space has bits: their sensitivity cannot be measured without the rounding"
        )
    return BitsSensitivity(rounded, space, sensitivity_of, model)


def outputs(model: nn.Module, images: Tensor, batch: int = 64) -> Tensor:
    """The network's outputs, flattened to one row an image."""
    with torch.no_grad():
        parts = [_flat(model(part), part.shape[0]) for part in images.split(batch)]
    return torch.cat(parts)


def resized(images: Tensor, resolution: int) -> Tensor:
    """The images at another square resolution (bilinear, antialiased); unchanged where it fits."""
    if not resolution or images.dim() != 4 or images.shape[-1] == resolution:
        return images
    size = (resolution, resolution)
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def _flat(output: object, images: int) -> Tensor:
    leaves = tree_leaves(output)
    return torch.cat([leaf.reshape(images, -1) for leaf in leaves if isinstance(leaf, Tensor)], 1)


def _outputs_with(
    model: nn.Module, database: Database, variable: Variable, option: object, images: Tensor
) -> Tensor:
    if variable.kind == "channels" and isinstance(option, int):
        with _patched(model, database.patches(Policy({variable.name: option}))):
            return outputs(model, images)
    if variable.kind == "block":
        with _without(model, variable.name):
            return outputs(model, images)
    if variable.kind == "resolution" and isinstance(option, int):
        return outputs(model, resized(images, option))
    return outputs(model, images)


@contextmanager
def _patched(model: nn.Module, patches: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
    before = {name: read_patch(model.get_submodule(name)) for name in patches}
    try:
        for name, patch in patches.items():
            write_patch(model.get_submodule(name), patch)
        yield
    finally:
        for name, patch in before.items():
            write_patch(model.get_submodule(name), patch)


@contextmanager
def _without(model: nn.Module, block: str) -> Iterator[None]:
    parent, _, leaf = block.rpartition(".")
    original = model.get_submodule(block)
    try:
        remove(model, frozenset({block}))
        yield
    finally:
        setattr(model.get_submodule(parent), leaf, original)
