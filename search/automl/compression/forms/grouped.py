"""Groups of channels that do not see each other, of the channels that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import GATHER, Form, convolution, saving, whole_number
from automl.network import Extent, Layer

if TYPE_CHECKING:
    from torch import Tensor

#: Numbers of groups that are tried.
_TRIED = (8, 4, 2)


class Grouped(Form[int]):
    """A convolution with groups, between channels that are put in another order and back.

    Which inputs and outputs are a group is searched: alternately, inputs and outputs go where they
    are worth most, from several starts, and outputs at last where their error in the metric is
    least. The weights in the groups are those of least squares.

    Source: Zhang et al. 2018 (ShuffleNet), grouped convolutions with channels reordered between
    them; Huang et al. 2018 (CondenseNet) learns which inputs a group reads. Differs: in closed form
    in the metric of the inputs' moments, and outputs are assigned too.
    """

    name = "grouped"
    ops = ("conv2d",)

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        """A layer takes it whose channels all see each other and come in equal parts."""
        if layer.op not in self.ops or layer.groups > 1:
            return "it does not mix all of its channels"
        read, written = layer.in_channels, layer.out_channels
        if min(read, written) < 2:
            return "it has one channel"
        if parameter is None or (parameter > 1 and _groups(parameter, read, written) == parameter):
            return ""
        return f"its {read} and {written} channels are not {parameter} groups of several"

    def parameters(self, layer: Layer) -> Sequence[int]:
        """8, 4 and 2 groups, where the channels can be so divided."""
        fits = [each for each in _TRIED if not self.refusal(each, layer)]
        return [each for each in fits if saving(layer, self.lower(each, layer))]

    def lower(self, parameter: int, layer: Layer) -> tuple[Layer, ...]:
        """Inputs in another order, the groups, outputs in theirs.

        A layer that was cut has as many groups as divide its channels.
        """
        read, written = layer.in_channels, layer.out_channels
        groups = _groups(parameter, read, written)
        return (
            reordered(layer, read, layer.in_size),
            convolution(layer, (read, written), (True, True), last=True, groups=groups),
            reordered(layer, written, layer.out_size),
        )

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """Input order, [groups, outputs, inputs, height, width], and output order."""
        from automl.compression.forms.grouping import partition, within

        outputs, inputs = kernel.shape[1:3]
        groups = _groups(parameter, inputs, outputs)
        reads, writes = partition(kernel[0], None if metric is None else metric[0], groups)
        weights = within(kernel[0], None if metric is None else metric[0], reads, writes)
        return reads.flatten(), weights, writes.flatten().argsort()

    def compose(self, parameter: int, factors: Sequence[Tensor], window: Extent) -> Tensor:
        """The groups in their places among zeros."""
        reads, weights, back = factors
        groups, outputs, inputs = weights.shape[:3]
        whole = weights.new_zeros(groups * outputs, groups * inputs, *window)
        for group, (own, read) in enumerate(
            zip(back.argsort().view(groups, -1), reads.view(groups, -1), strict=True)
        ):
            whole[own[:, None], read] = weights[group]
        return whole[None]

    def write(self, parameter: int) -> str:
        """The number of groups."""
        return str(parameter)

    def read(self, text: str) -> int:
        """The number of groups."""
        return whole_number(text)


def _groups(parameter: int, read: Any, written: Any) -> Any:
    """How many groups of several inputs each there can be; of arrays, of each."""
    import numpy as np

    found = np.gcd(np.gcd(read, written), parameter)
    found = np.where(found == read, 1, found)
    return found if found.ndim else int(found)


def reordered(layer: Layer, channels: Any, size: Extent) -> Layer:
    """Channels in another order, as the same operation of a traced network is priced."""
    places = (prod(size), 1)
    return Layer(
        layer.name,
        GATHER,
        channels,
        channels,
        in_size=places,
        out_size=places,
        detail="index_select",
        batch=layer.batch,
    )
