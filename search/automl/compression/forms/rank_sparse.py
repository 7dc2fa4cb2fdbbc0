"""A matrix of low rank, and few weights beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import (
    CONVOLUTIONS,
    DenseForm,
    StoredPart,
    least,
    ranks,
    too_many,
)
from automl.compression.forms.shared import index_bits, up
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor

#: Rank of a group's matrix, and percent of each output's weights that are beside it.
Parameter = tuple[int, int]
#: Of a group's outputs: ranks that are tried.
_SHARES = (0.125, 0.25)
_PERCENT = 5


class RankSparse(DenseForm[Parameter]):
    """The weights are a product of two thin matrices, and a few in each output differ from it.

    Both are solved in turns in the metric of the inputs' moments: the nearest matrix of that rank
    to what the few leave, and the few that leave least of what is left. Where the few are is told
    by the last bit of each float, so that a member can be taken apart again.

    Source: Yu et al. 2017 (On Compressing Deep Models by Low Rank and Sparse Decomposition).
    Differs: in the metric of the layer's own inputs; each output has as many weights beside the
    product as another. No kernel of a priced runtime computes the sum: it runs as the dense layer.
    """

    name = "rank+sparse"
    ops = (*CONVOLUTIONS, "linear")

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that mixes several channels."""
        if layer.op not in self.ops:
            return f"it is a {layer.op}"
        if min(layer.in_channels, layer.out_channels) // layer.groups < 2:
            return "it mixes no channels"
        return "" if parameter is None else too_many(parameter[0], _most(layer))

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """An eighth and a quarter of the rank, where that makes the layer smaller."""
        dense = float(operators_bytes([layer], Bits()))
        found = [(each, _PERCENT) for each in ranks(_most(layer), _SHARES)]
        return [each for each in found if float(self.bytes(each, layer, Bits())) < dense]

    def bytes(self, parameter: Parameter, layer: Layer, bits: Bits) -> Any:
        """Two thin matrices, and the weights beside them with their places."""
        if bits.weights < FLOAT_BITS:
            return operators_bytes([layer], bits)
        columns = _columns(layer)
        rank = least(parameter[0], _most(layer))
        few = layer.out_channels * _few(parameter[1], columns)
        thin = rank * (layer.out_channels + layer.groups * columns)
        return up(few * index_bits(columns), 8) + (thin + few) * (bits.weights / 8)

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The member: [runs, outputs, inputs, height, width]."""
        from automl.compression.forms.completing import apart, marked, summed

        weights = kernel.flatten(2)
        rank = min(parameter[0], *weights.shape[1:])
        few = _few(parameter[1], weights.shape[2])
        if metric is None and apart(weights, rank, few) is not None:
            return (kernel,)
        return (marked(*summed(weights, metric, rank, few), rank, few).view(kernel.shape),)

    def pack(self, parameter: Parameter, kernel: Tensor) -> tuple[StoredPart, ...]:
        """The thin matrices, and the places and values of what is beside.

        Raises:
            ValueError: The kernel is no member.
        """
        from automl.compression.forms.completing import apart

        weights = kernel.flatten(2)
        rank = min(parameter[0], *weights.shape[1:])
        found = apart(weights, rank, _few(parameter[1], weights.shape[2]))
        if found is None:
            raise ValueError(f"these are no weights of {self.name} {self.write(parameter)}")
        first, second, places = found
        beside = (weights - second @ first).gather(2, places)
        return (
            StoredPart(first.flatten()),
            StoredPart(second.flatten()),
            StoredPart(places.flatten(), int(index_bits(weights.shape[2]))),
            StoredPart(beside.flatten()),
        )

    def unpack(self, parameter: Parameter, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        first, second, places, beside = parts
        runs, outputs, *inner = shape
        columns = inner[0] * inner[1] * inner[2]
        rank = min(parameter[0], outputs, columns)
        whole = second.view(runs, outputs, rank) @ first.view(runs, rank, columns)
        where = places.long().view(runs, outputs, -1)
        return whole.scatter_add_(2, where, beside.view(where.shape).to(whole)).view(*shape)

    def write(self, parameter: Parameter) -> str:
        """As "8-5": rank 8, and 5 percent of the weights beside it."""
        return "-".join(map(str, parameter))

    def read(self, text: str) -> Parameter:
        """As "8-5"."""
        found = re.fullmatch(r"([1-9]\d{0,4})-([1-9]|[1-4]\d|50)", text, re.ASCII)
        if found is None:
            raise ValueError(f"{text!r} is no rank and percent, 1 to 50: write 8-5")
        return int(found[1]), int(found[2])


def _columns(layer: Layer) -> Any:
    return layer.in_channels // layer.groups * layer.kernel[0] * layer.kernel[1]


def _few(percent: int, columns: Any) -> Any:
    """How many weights of an output are beside the product, one at least."""
    return up(columns * percent, 100)


def _most(layer: Layer) -> Any:
    """The rank of a group's matrix."""
    return least(layer.out_channels // layer.groups, _columns(layer))
