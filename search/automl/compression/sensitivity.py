"""What each choice does to the network's outputs when it is made alone: measured, not estimated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from automl.compression.database import Database
from automl.compression.kinds.base import Bench, compression_kind
from automl.compression.quantization.joint_database import JointDatabase
from automl.space import Sensitivity, Space, kind_of
from automl.userdata import fitting

Tensor = torch.Tensor


def measure_sensitivity(
    database: Database,
    space: Space,
    images: Tensor,
    *,
    rounded: JointDatabase | None = None,
    on_choice: Callable[[int, int], None] = lambda done, total: None,
) -> Sensitivity:
    """The sensitivity of every choice alone, and of pairs of choices where their kinds know it.

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
        SpaceError: A kind that is unknown or cannot be measured, or bits without rounded weights.
        QuantizationError: Activations that are constant or not finite; it names the layer.
    """
    # results may be made from the database after an interruption, which could leave a choice in it
    model = copy.deepcopy(database.model)
    dense = outputs(model, images)
    variance = float(dense.var(0).mean().clamp_min(1e-12)) if dense.shape[0] > 1 else 1.0
    total = sum(len(variable.options) for variable in space.variables)
    sensitivity, done = [], 0

    def change(made: Callable[[Tensor], Any], inputs: Tensor) -> float:
        return float((outputs(made, inputs) - dense).square().mean()) / variance

    def told() -> None:
        nonlocal done
        on_choice(done := done + 1, total)

    bench = Bench(model, database, rounded, images, change)
    measurers = {
        name: compression_kind(kind_of(name)).measurer(space, bench) for name in space.kinds
    }
    for variable in space.variables:
        sensitivity.append(measurers[variable.kind].row(variable, told))
        done += 1
    pairwise = (each for kind in measurers.values() for each in kind.pairwise(sensitivity))
    return Sensitivity(tuple(sensitivity), images.shape[0], tuple(pairwise))


def outputs(model: Callable[[Tensor], Any], images: Tensor, batch: int = 64) -> Tensor:
    """The network's outputs, flattened to one row an image."""
    batch = min(batch, fitting(images))
    with torch.no_grad():
        parts = [_flat(model(part), part.shape[0]) for part in images.split(batch)]
    return torch.cat(parts)


def _flat(output: object, images: int) -> Tensor:
    leaves = tree_leaves(output)
    return torch.cat([leaf.reshape(images, -1) for leaf in leaves if isinstance(leaf, Tensor)], 1)
