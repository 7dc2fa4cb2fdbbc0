"""Low rank between rows and columns of taps: a k x 1 convolution, then a 1 x k one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from automl.compression.forms.base import (
    CONVOLUTIONS,
    Form,
    convolution,
    least,
    op_of,
    ranks,
    saving,
    too_many,
    whole_number,
)
from automl.network import Layer

if TYPE_CHECKING:
    from torch import Tensor

#: Of a group's narrower side: ranks that are tried.
_SHARES = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)


class RankSpatial(Form[int]):
    """A k x 1 convolution into some channels of each group, then a 1 x k one.

    The first is that of the least error if columns of taps read nothing in common; the second is
    the best behind it.

    Source: Jaderberg et al. 2014 (Speeding up Convolutional Neural Networks with Low Rank
    Expansions), scheme 2. Differs: in closed form, in the metric of the inputs' moments.
    """

    name = "rank-spatial"

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        """A layer takes it that has several rows and several columns of taps."""
        if layer.op not in CONVOLUTIONS or min(layer.kernel) < 2:
            return "it has no rows and columns of taps"
        return "" if parameter is None else too_many(parameter, _most(layer))

    def parameters(self, layer: Layer) -> Sequence[int]:
        """Shares of a group's narrower side, where they save products."""
        side = min(layer.in_channels, layer.out_channels) // layer.groups
        return [rank for rank in ranks(side, _SHARES) if saving(layer, self.lower(rank, layer))]

    def lower(self, parameter: int, layer: Layer) -> tuple[Layer, ...]:
        """A column, then a row."""
        rank = least(parameter, _most(layer))
        between, op = layer.groups * rank, op_of(layer, parameter)
        return (
            convolution(
                layer, (layer.in_channels, between), (True, False), last=False, op=layer.op
            ),
            convolution(layer, (between, layer.out_channels), (False, True), last=True, op=op),
        )

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """[runs, rank, inputs, height, 1] and [runs, outputs, rank, 1, width]."""
        import torch

        from automl.compression.forms.algebra import basis, solved, taken

        runs, outputs, inputs, height, width = kernel.shape
        rank = min(parameter, inputs * height, outputs * width)
        rows = kernel.permute(0, 1, 4, 2, 3).flatten(1, 2).flatten(2)  # (output, x), (input, y)
        column = basis(rows, taken(metric, kernel, "rcyxdzx->rcydz"), rank)
        column = column.view(runs, rank, inputs, height)
        spread = torch.einsum(
            "grcy,xX->grxcyX", column, torch.eye(width, dtype=column.dtype)
        ).reshape(runs, rank * width, -1)
        row = solved(kernel.flatten(2), spread, metric).view(runs, outputs, rank, 1, width)
        return column.unsqueeze(4), row

    def write(self, parameter: int) -> str:
        """The rank of a group."""
        return str(parameter)

    def read(self, text: str) -> int:
        """The rank of a group."""
        return whole_number(text)


class PlainRankSpatial(RankSpatial):
    """The same by singular values of the weights alone.

    Source: Denton et al. 2014 (Exploiting Linear Structure Within Convolutional Networks).
    """

    name = "rank-spatial-plain"

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """As `RankSpatial`, whatever the metric."""
        return super().factors(parameter, kernel, None)


def _most(layer: Layer) -> int:
    """The rank of a group's matrix."""
    height, width = layer.kernel
    inputs, outputs = (each // layer.groups for each in (layer.in_channels, layer.out_channels))
    most: int = least(inputs * height, outputs * width)
    return most
