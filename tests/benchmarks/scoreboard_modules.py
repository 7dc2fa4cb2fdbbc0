"""Rows of the scoreboard: layers as the modules of small networks have them."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

import torch
from scored import Bench, Check, Figures, Row
from torch import Tensor, nn

from automl.compression import built, form_of


def grouped(bench: Bench, groups: int) -> Figures:
    """Groups of channels that were searched, over those that stand side by side."""

    def side_by_side(kernel: Tensor, metric: Tensor | None, groups: int) -> tuple[Tensor, Tensor]:
        outputs, inputs = kernel.shape[:2]
        return torch.arange(inputs).view(groups, -1), torch.arange(outputs).view(groups, -1)

    found = bench.form_error(f"grouped:{groups}")
    with patch("automl.compression.forms.grouping.partition", side_by_side):
        plain = bench.form_error(f"grouped:{groups}")
    return {"error": found, "side by side": plain, "ratio": found / plain}


def ghosts(bench: Bench) -> Figures:
    """Half of the maps computed, in the metric of what is read and without; a quarter, by 1 x 1."""
    first, last = bench.form_error("ghost:2-first"), bench.form_error("ghost:4-last")
    blind = bench.form_error("ghost:2-first", moments=False)
    return {"first": first, "last": last, "blind": blind, "ratio": first / blind}


def shifts(bench: Bench) -> Figures:
    """One tap a channel, over the middle alone and over a kernel for each channel."""
    shift, middle = bench.form_error("shift"), bench.form_error("taps:1x1")
    separable, form = bench.form_error("separable:1"), form_of("shift")
    moved = []
    for name in bench.convolutions:
        with bench.formed(name, "shift") as model:
            moves = built(form, "", model.get_submodule(name))[0]  # type: ignore[index]
        assert isinstance(moves, nn.Conv2d)
        moved.append(float(1 - moves.weight[:, 0, 1, 1].mean()))
    return {
        "error": shift,
        "over the middle": shift / middle,
        "over separable": shift / separable,
        "moved": sum(moved) / len(moved),
    }


ROWS = (
    Row(
        "grouped-4",
        "forms/grouped",
        "four groups of the channels that belong together: at most 0.75 of those side by side",
        partial(grouped, groups=4),
        (Check("ratio", at_most=0.75),),
    ),
    Row(
        "ghost",
        "forms/ghost",
        "half of the maps computed: below the same by the weights alone (once measured: 0.100)",
        ghosts,
        (Check("first", at_most=0.1), Check("ratio", at_most=0.9)),
    ),
    Row(
        "shift",
        "forms/shift",
        "below the middle tap alone, above a kernel for each channel; how many channels move",
        shifts,
        (Check("over the middle", at_most=0.95), Check("over separable", at_least=1.0)),
    ),
)
