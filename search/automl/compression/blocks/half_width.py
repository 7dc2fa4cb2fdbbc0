"""A unit with half of its inner channels, trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from automl.compression.blocks.base import BlockForm, Stage, convolution
from automl.network import BlockUnit, Width, window_of

if TYPE_CHECKING:
    from torch import nn

    from automl.compression.blocks.building import Built


class HalfWidth(BlockForm):
    """Half of the channels between the unit's convolutions, and a ReLU for what is between.

    Source: an alternative of the block libraries of LANA (Molchanov et al. 2022) and Puzzle
    (Bercovich et al. 2024). It begins with the channels of most weight on both sides.
    """

    name = "half-width"

    def stages(self, unit: BlockUnit) -> tuple[Stage, ...]:
        """One for each convolution."""
        found: list[Stage] = []
        reads = unit.first.inputs
        for plan in unit.plans:
            layer, last = plan.layer, plan is unit.last
            deep = layer.op == "depthwise_conv2d"
            if layer.groups > 1 and not (deep and layer.in_channels == layer.out_channels):
                return ()
            half = max(1, layer.out_channels // 2)
            writes = unit.last.outputs if last else reads if deep else Width(half)
            window = window_of(layer)
            made = convolution(unit, len(found), (reads, writes), window, plan.sizes, deep=deep)
            found.append(Stage((made,), not last))
            reads = writes
        return tuple(found)

    def begin(self, unit: BlockUnit, layers: Sequence[nn.Module], built: Built) -> None:
        """Those channels of which most weight is written and read."""
        import torch

        stays: Any = None
        some = cast("Sequence[Any]", layers)
        convolutions = cast("Sequence[Any]", built.convolutions)
        with torch.no_grad():
            for number, (dense, made) in enumerate(zip(some, convolutions, strict=True)):
                deep = dense.groups > 1
                weight = dense.weight if deep or stays is None else dense.weight[:, stays]
                if number + 1 < len(layers) and not deep:
                    reader = next(each for each in some[number + 1 :] if each.groups == 1)
                    size = dense.weight.flatten(1).norm(dim=1)
                    size = size * reader.weight.transpose(0, 1).flatten(1).norm(dim=1)
                    stays = size.topk(made.out_channels).indices.sort().values
                rows = slice(None) if number + 1 == len(layers) else stays
                made.weight.copy_(weight[rows])
                if dense.bias is not None:
                    made.bias.copy_(dense.bias[rows])
