"""An alternative of a unit: what else could run in its place, as stages of convolutions.

What is priced and what is built are made from the same stages. Alternatives are loaded where only
a policy is read: torch is imported where it is used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from automl.network import BlockUnit, Extent, Layer, LayerPlan, Width, Window

if TYPE_CHECKING:
    from torch import nn

    from automl.compression.blocks.building import Built


@dataclass(frozen=True, slots=True)
class Stage:
    """Convolutions that read the same; what they write is concatenated.

    Attributes:
        plans: The convolutions.
        relu: Whether a ReLU follows.
    """

    plans: tuple[LayerPlan, ...]
    relu: bool = True

    @property
    def operators(self) -> tuple[LayerPlan, ...]:
        """All that runs and is priced: a ReLU is part of the convolution before it."""
        if len(self.plans) == 1:
            return self.plans
        written = sum(plan.layer.out_channels for plan in self.plans)
        first = self.plans[0]
        joined = Layer(
            f"{first.layer.name}.concat",
            "concat",
            written,
            written,
            in_size=first.layer.out_size,
            out_size=first.layer.out_size,
            detail=str(len(self.plans)),
        )
        sizes = tuple((size, size) for _, size in first.sizes)
        concat = LayerPlan(joined, Width(written), Width(written), sizes, first.block)
        return (*self.plans, concat)


class BlockForm(ABC):
    """Something else than a unit, that is trained to compute what the unit does.

    Attributes:
        name: As policies and the registry write it.
        opens_gates: Whether nothing runs in its place, and the gate that the unit is of goes.
        kernel: The special kernel that some of its convolutions run by ("binary": rows of
            "fp32+binary"); it is offered where a table has such. "" for plain ones.
    """

    name: ClassVar[str]
    opens_gates: ClassVar[bool] = False
    kernel: ClassVar[str] = ""

    @abstractmethod
    def stages(self, unit: BlockUnit) -> tuple[Stage, ...]:
        """What runs in a unit's place, in order; () where the unit cannot become this.

        The first stage reads what the unit reads, and the last one is a convolution by itself,
        without a ReLU, that reads all channels and writes what the unit writes.
        """

    def takes(self, unit: BlockUnit) -> bool:
        """Whether a unit can become this."""
        return bool(self.stages(unit))

    def begin(self, unit: BlockUnit, layers: Sequence[nn.Module], built: Built) -> None:
        """Set the weights to begin with, in place: those that were drawn, and the last biases.

        Args:
            unit: Whose place it takes.
            layers: The unit's convolutions.
            built: What is trained, its weights drawn and its biases zero.
        """
        import torch

        bias, own = layers[-1]._parameters.get("bias"), built.last.get_parameter("bias")
        if bias is not None:
            with torch.no_grad():
                own.copy_(bias)

    def hold(self, built: Built) -> None:
        """Put parametrizations on weights that are not free while they are trained, if any are."""
        return


#: What a convolution reads and writes: (channels in, channels out).
Widths = tuple[Width, Width]
#: Per resolution of the network: (size of the maps that enter, of those that leave).
Sizes = tuple[tuple[Extent, Extent], ...]


def convolution(
    unit: BlockUnit,
    number: int,
    widths: Widths,
    window: Window,
    sizes: Sizes,
    *,
    deep: bool = False,
    kernel: str = "",
) -> LayerPlan:
    """A convolution of a stage, with biases.

    Args:
        unit: Whose place it takes.
        number: Tells it from others of that.
        widths: What it reads and writes: of the unit's sides, or fixed.
        window: Its kernel, stride, padding and dilation.
        sizes: Of its maps.
        deep: Whether each channel is read by itself.
        kernel: The special one that it runs by; "" for the plain one.
    """
    known = {unit.last.outputs: unit.last.layer.out_channels}
    known[unit.first.inputs] = unit.first.layer.in_channels
    read, written = (known.get(width, width.fixed) for width in widths)
    layer = Layer(
        f"{unit.name}.{number}",
        "depthwise_conv2d" if deep else "conv2d",
        read,
        written,
        window.kernel,
        window.stride,
        window.padding,
        window.dilation,
        groups=read if deep else 1,
        in_size=sizes[-1][0],
        out_size=sizes[-1][1],
        batch=unit.first.layer.batch,
    )
    scales = deep and bool(widths[0].groups)
    return LayerPlan(layer, *widths, sizes, unit.block, scales_groups=scales, kernel=kernel)


def square(kernel: Extent, stride: Extent = (1, 1)) -> Window:
    """A window of odd sides that is padded by half of them."""
    return Window(kernel, stride, tuple(side // 2 for side in kernel), (1, 1))


def left(plan: LayerPlan) -> Sizes:
    """Sizes of what reads what a convolution writes and leaves the maps as they are."""
    return tuple((size, size) for _, size in plan.sizes)
