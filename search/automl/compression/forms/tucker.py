"""Low rank between channels on both sides of the taps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from automl.compression.forms.base import (
    CONVOLUTIONS,
    Form,
    convolution,
    least,
    op_of,
    saving,
    too_many,
    whole_number,
)
from automl.compression.forms.rank_channel import inner_channels, over_taps
from automl.network import Layer

if TYPE_CHECKING:
    from torch import Tensor

#: Channels that the taps read and write, of each group.
Parameter = tuple[int, int]
#: Shares of both sides that are tried.
_SHARES = (0.25, 0.5, 0.75)


class Tucker(Form[Parameter]):
    """A 1 x 1 convolution, a k x k one among fewer channels, and a 1 x 1 one.

    The channels on both sides are those of least error each alone, and the taps are the best
    between them.

    Source: Kim et al. 2016 (Compression of Deep Convolutional Neural Networks for Fast and Low
    Power Mobile Applications). Differs: in the metric of the inputs' moments; ranks are searched.
    """

    name = "tucker"

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that has taps and mixes several channels."""
        if layer.op not in CONVOLUTIONS or max(layer.kernel) < 2:
            return "it has no taps"
        inputs, outputs = (each // layer.groups for each in (layer.in_channels, layer.out_channels))
        if min(inputs, outputs) < 2:
            return "it mixes no channels"
        if parameter is None:
            return ""
        return too_many(parameter[0], inputs) or too_many(parameter[1], outputs)

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """The same share of both sides of a group, where it saves products."""
        sides = (layer.in_channels // layer.groups, layer.out_channels // layer.groups)
        found = [
            (max(1, round(share * sides[0])), max(1, round(share * sides[1]))) for share in _SHARES
        ]
        return [each for each in dict.fromkeys(found) if saving(layer, self.lower(each, layer))]

    def lower(self, parameter: Parameter, layer: Layer) -> tuple[Layer, ...]:
        """Three operators, of which the second has the taps."""
        groups, read, written = layer.groups, layer.in_channels, layer.out_channels
        inner, outer = (
            groups * least(most // groups, rank)
            for most, rank in zip((read, written), parameter, strict=True)
        )
        second, third = (op_of(layer, rank) for rank in parameter)
        return (
            convolution(layer, (read, inner), (False, False), last=False),
            convolution(layer, (inner, outer), (True, True), last=False, op=second),
            convolution(layer, (outer, written), (False, False), last=True, op=third),
        )

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """[runs, inner, inputs, 1, 1], [runs, outer, inner, ...] and [runs, outputs, outer, 1, 1].

        No more outputs of the taps are told apart than their inputs allow.
        """
        from automl.compression.forms.algebra import leading, solved

        runs, outputs, inputs, height, width = kernel.shape
        inner, outer = min(parameter[0], inputs), min(parameter[1], outputs)
        before = inner_channels(kernel, metric, inner)
        whole = kernel.flatten(2)
        after = leading(whole, metric, outer)
        middle = solved(after.transpose(1, 2) @ whole, over_taps(before, kernel), metric)
        return (
            before[..., None, None],
            middle.view(runs, outer, inner, height, width),
            after[..., None, None],
        )

    def write(self, parameter: Parameter) -> str:
        """As "8-16": what the taps read, what they write."""
        return "-".join(map(str, parameter))

    def read(self, text: str) -> Parameter:
        """As "8-16"."""
        inner, _, outer = text.partition("-")
        return whole_number(inner), whole_number(outer)
