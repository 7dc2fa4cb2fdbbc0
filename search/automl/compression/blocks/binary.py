"""A unit whose convolutions but the last have binary weights, trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.blocks.base import BlockForm, Stage, convolution
from automl.network import BlockUnit, Width, window_of

if TYPE_CHECKING:
    from torch import nn

    from automl.compression.blocks.building import Built


class Binary(BlockForm):
    """SignsWithScale with a scale an output, for all convolutions but the last; ReLUs between.

    Source: the weights of XNOR-Net (Rastegari et al. 2016, section 3.1): a sign times the mean
    magnitude of the output's weights, straight through the sign where magnitudes are below 1.
    Differs: what is read stays as it is, as signs of activations cannot be exported; the last
    convolution has floats, for the finishing step solves it again; depthwise ones have floats too,
    whose sums are too short for a scale an output. It begins with the unit's weights.
    """

    name = "binary"
    kernel = "binary"

    def stages(self, unit: BlockUnit) -> tuple[Stage, ...]:
        """One for each convolution, as it was."""
        if unit.gate is not None:
            return ()
        found: list[Stage] = []
        reads = unit.first.inputs
        for plan in unit.plans:
            layer, last = plan.layer, plan is unit.last
            deep = layer.op == "depthwise_conv2d"
            if layer.groups > 1 and not (deep and layer.in_channels == layer.out_channels):
                return ()
            same = reads if deep else Width(layer.out_channels)
            writes = unit.last.outputs if last else same
            made = convolution(
                unit,
                len(found),
                (reads, writes),
                window_of(layer),
                plan.sizes,
                deep=deep,
                kernel="" if last or deep else self.kernel,
            )
            found.append(Stage((made,), not last))
            reads = writes
        return tuple(found) if any(stage.plans[0].kernel for stage in found) else ()

    def begin(self, unit: BlockUnit, layers: Sequence[nn.Module], built: Built) -> None:
        """The unit's own weights, which training rounds."""
        import torch

        with torch.no_grad():
            for dense, made in zip(layers, built.convolutions, strict=True):
                own: Any = dense
                made.get_parameter("weight").copy_(own.weight)
                if own.bias is not None:
                    made.get_parameter("bias").copy_(own.bias)

    def hold(self, built: Built) -> None:
        """The weights of those with the kernel are signs with scales."""
        from torch.nn.utils import parametrize

        from automl.compression.blocks.signs import SignsWithScale

        plans = (stage.plans[0] for stage in built.stages)
        for plan, made in zip(plans, built.convolutions, strict=True):
            if plan.kernel:
                parametrize.register_parametrization(made, "weight", SignsWithScale())
