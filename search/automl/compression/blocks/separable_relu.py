"""Dense convolutions as depthwise ones, a ReLU, and pointwise ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.blocks.base import BlockForm, Stage, convolution, left, square
from automl.network import BlockUnit, Width, window_of

if TYPE_CHECKING:
    from torch import nn

    from automl.compression.blocks.building import Built


class SeparableRelu(BlockForm):
    """Each k x k convolution of all channels as a depthwise one, a ReLU, and a 1 x 1.

    Source: MobileNets (Howard et al. 2017, section 3.1). Differs: it takes a trained unit's place,
    begins with the nearest pairs of kernels (one a channel, by singular values), and is trained to
    write what the unit does.
    """

    name = "separable-relu"

    def stages(self, unit: BlockUnit) -> tuple[Stage, ...]:
        """Two for each such convolution; the others stay."""
        found: list[Stage] = []
        for plan in unit.plans:
            layer, window = plan.layer, window_of(plan.layer)
            deep = layer.op == "depthwise_conv2d"
            if layer.groups > 1 and not (deep and layer.in_channels == layer.out_channels):
                return ()
            reads = unit.first.inputs if plan is unit.first else Width(layer.in_channels)
            writes = unit.last.outputs if plan is unit.last else Width(layer.out_channels)
            relu, number = plan is not unit.last, len(found)
            if deep or max(layer.kernel) == 1:
                same = convolution(unit, number, (reads, writes), window, plan.sizes, deep=deep)
                found.append(Stage((same,), relu))
                continue
            depth = convolution(unit, number, (reads, reads), window, plan.sizes, deep=True)
            point = convolution(unit, number + 1, (reads, writes), square((1, 1)), left(plan))
            found += [Stage((depth,)), Stage((point,), relu)]
        return tuple(found) if len(found) > len(unit.plans) else ()

    def begin(self, unit: BlockUnit, layers: Sequence[nn.Module], built: Built) -> None:
        """Each channel's kernels by their first singular vectors."""
        import torch

        made: list[Any] = built.convolutions
        with torch.no_grad():
            for layer in layers:
                dense: Any = layer
                if tuple(made[0].weight.shape) == tuple(dense.weight.shape):
                    (same,), made = made[:1], made[1:]
                    same.weight.copy_(dense.weight)
                else:
                    (depth, same), made = made[:2], made[2:]
                    kernels = dense.weight.transpose(0, 1).flatten(2)  # [inputs, outputs, taps]
                    left, values, right = torch.linalg.svd(kernels, full_matrices=False)
                    taps = right[:, 0]
                    sign = torch.where(
                        taps.sum(1) < 0, -1.0, 1.0
                    )  # most of what passes is positive
                    depth.weight.copy_((taps * sign[:, None]).view_as(depth.weight))
                    points = left[:, :, 0] * (values[:, 0] * sign)[:, None]
                    same.weight.copy_(points.t().view_as(same.weight))
                if dense.bias is not None:
                    same.bias.copy_(dense.bias)
