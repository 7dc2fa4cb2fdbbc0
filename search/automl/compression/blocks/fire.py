"""A fire module in a unit's place."""

from __future__ import annotations

from math import prod

from automl.compression.blocks.base import BlockForm, Stage, convolution, left, square
from automl.network import BlockUnit, Extent, Width


class Fire(BlockForm):
    """1 x 1 to an eighth of the channels, ReLU, 1 x 1 beside k x k, ReLU, and a 1 x 1.

    Source: SqueezeNet (Iandola et al. 2016, section 3.2; squeeze ratio 0.125, half of what expands
    is 1 x 1). Differs: a 1 x 1 follows, so that the fire module keeps its own ReLU where what the
    unit writes is added to a stream, and so that any of its channels can go.
    """

    name = "fire"

    def stages(self, unit: BlockUnit) -> tuple[Stage, ...]:
        """Three; none where a unit's maps do not shrink as those of one convolution do."""
        sides = [plan.layer.kernel for plan in unit.plans]
        kernel = tuple(max(side) for side in zip(*sides, strict=True))
        strides = [plan.layer.stride for plan in unit.plans]
        stride = tuple(prod(each) for each in zip(*strides, strict=True))
        half = unit.last.layer.out_channels // 2
        squeezed = max(1, half // 4)
        if max(kernel) == 1 or any(side % 2 == 0 for side in kernel) or half <= squeezed:
            return ()
        spanning = tuple(
            (entered, end)
            for (entered, _), (_, end) in zip(unit.first.sizes, unit.last.sizes, strict=True)
        )
        if any(_shrunk(entered, stride) != end for entered, end in spanning):
            return ()
        entering = tuple((entered, entered) for entered, _ in spanning)
        inner, both = Width(squeezed), Width(2 * half)
        squeeze = convolution(unit, 0, (unit.first.inputs, inner), square((1, 1)), entering)
        expand = tuple(
            convolution(unit, number, (inner, Width(half)), square(side, stride), spanning)
            for number, side in ((1, (1, 1)), (2, kernel))
        )
        point = convolution(unit, 3, (both, unit.last.outputs), square((1, 1)), left(unit.last))
        return Stage((squeeze,)), Stage(expand), Stage((point,), relu=False)


def _shrunk(size: Extent, stride: Extent) -> Extent:
    """The size of a map that is padded by half a kernel."""
    return tuple(-(-side // step) for side, step in zip(size, stride, strict=True))
