"""What each choice does to the network's outputs when it is made alone: measured, not estimated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

import torch

from automl.compression.blocks.library import Library
from automl.compression.database import Database
from automl.compression.kinds.base import Bench, compression_kind
from automl.compression.merging import Merging
from automl.compression.quantization.joint_database import JointDatabase
from automl.heap import give_back, resident_bytes
from automl.network import ResumedPasses, column_scales, laid_out, output_rows
from automl.space import Sensitivity, Space, kind_of
from automl.userdata import in_passes

Tensor = torch.Tensor
#: Bytes that choices may have freed before they go back to the system: what one choice frees
#: seldom fits the next, and to give back what does costs time.
_FREED: Final = 256_000_000


def measure_sensitivity(
    database: Database,
    space: Space,
    images: Tensor,
    *,
    rounded: JointDatabase | None = None,
    merging: Merging | None = None,
    library: Library | None = None,
    on_choice: Callable[[int, int], None] = lambda done, total: None,
) -> Sensitivity:
    """The sensitivity of every choice alone, and of pairs of choices where their kinds know it.

    Args:
        database: Candidates' weights; a copy of its model is changed and restored, choice by
            choice.
        space: The choices.
        images: Calibration inputs; a few dozen are enough.
        rounded: The database's rounded weights, for spaces with bits.
        merging: Makes layers into one, for spaces with merges.
        library: For spaces with alternatives of units.
        on_choice: Told (choices done, choices in all).

    Returns:
        Mean squared difference of the outputs, relative to the variance of the dense outputs.

    Raises:
        SpaceError: A kind that is unknown or cannot be measured, or bits without rounded weights.
        QuantizationError: Activations that are constant or not finite; it names the layer.
    """
    # results may be made from the database after an interruption, which could leave a choice in it
    model = copy.deepcopy(database.model)
    images = laid_out(model, images)  # once: passes are known by where their inputs lie
    passes = ResumedPasses(model)
    whole = in_passes(passes.whole, images)
    dense, scales = output_rows(whole, len(images)), column_scales(whole, len(images))
    total = sum(len(variable.options) for variable in space.variables)
    sensitivity, done = [], 0

    def change(made: Callable[[Tensor], Any], inputs: Tensor) -> float:
        return float(((outputs(made, inputs) - dense).square() / scales).mean())

    give_back()
    most = resident_bytes() + _FREED

    def told() -> None:
        nonlocal done, most
        if resident_bytes() > most:
            give_back()
            most = resident_bytes() + _FREED  # what measurers hold by now stays
        on_choice(done := done + 1, total)

    bench = Bench(model, database, rounded, images, change, passes, merging, library)
    measurers = {
        name: compression_kind(kind_of(name)).measurer(space, bench) for name in space.kinds
    }
    for variable in space.variables:
        sensitivity.append(measurers[variable.kind].row(variable, told))
        on_choice(done := done + 1, total)
    pairwise = (each for kind in measurers.values() for each in kind.pairwise(sensitivity))
    return Sensitivity(tuple(sensitivity), images.shape[0], tuple(pairwise))


def outputs(model: Callable[[Tensor], Any], images: Tensor) -> Tensor:
    """The network's outputs, flattened to one row an image."""
    with torch.no_grad():
        return output_rows(in_passes(model, images), len(images))
