"""Networks whose batch norms stand behind their layers: cut with them, and their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from automl.network.layers import ChannelGroup
from automl.network.surgery import Kept, kept_positions, slice_side, smaller
from automl.network.unfold import take_again

Tensor = torch.Tensor


def smaller_with_norms(
    model: nn.Module,
    norms: Mapping[str, str],
    groups: tuple[ChannelGroup, ...],
    kept: Kept,
    removed: frozenset[str] = frozenset(),
) -> nn.Module:
    """As `smaller`, of a network whose batch norms stand behind its layers.

    Args:
        model: Left as it is; its layers are named as those of the traced model.
        norms: From `norms_behind`.
        groups, kept, removed: As for `smaller`.
    """
    left = smaller(model, groups, kept, removed)
    for (layer, side), positions in kept_positions(model, groups, kept).items():
        gone = any(layer == part or layer.startswith(f"{part}.") for part in removed)
        if side != "in" and layer in norms and not gone:
            slice_side(left.get_submodule(norms[layer]), "out", positions)
    return left


def re_estimate_norms(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take the statistics of all batch norms again, as means over batches, in place.

    Args:
        model: In evaluation mode afterwards.
        batches: Inputs, [images, ...] each.
    """
    model.eval()
    kinds = nn.modules.batchnorm._BatchNorm
    take_again(model, [each for each in model.modules() if isinstance(each, kinds)], batches)
