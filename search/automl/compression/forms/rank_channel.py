"""Low rank between channels: fewer of them before the taps, or behind."""

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

#: Where the taps are: with the operator that reads the layer's input, or the one after it.
TAPS_FIRST, TAPS_LAST = "first", "last"
#: Of a group's narrower side: ranks that are tried.
_SHARES = (0.25, 0.5)
#: One of these, and the channels between the two operators of each group.
Parameter = tuple[str, int]


class RankChannel(Form[Parameter]):
    """A k x k convolution into fewer channels and a 1 x 1 one, or the 1 x 1 one first.

    With the taps first it is the exact optimum. With the taps last the channels between are those
    of least error if taps read nothing in common, and what follows is the best behind them.

    Source: Denton et al. 2014; Zhang et al. 2015 (Accelerating Very Deep Convolutional Networks
    for Classification and Detection), section 2, for the metric. Differs: the ReLU is left to the
    finishing step.
    """

    name = "rank-channel"
    ops = (*CONVOLUTIONS, "linear")

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that mixes several channels."""
        if layer.op not in self.ops:
            return "it is no convolution over maps and no linear layer"
        if min(layer.in_channels, layer.out_channels) // layer.groups < 2:
            return "it mixes no channels"
        return "" if parameter is None else too_many(parameter[1], _most(parameter[0], layer))

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """Shares of a group's narrower side, where they save products; each before its other."""
        side = min(layer.in_channels, layer.out_channels) // layer.groups
        alike = max(layer.kernel) == 1
        places = (TAPS_FIRST,) if alike else (TAPS_FIRST, TAPS_LAST)
        found = [(place, rank) for rank in ranks(side, _SHARES) for place in places]
        return [each for each in found if saving(layer, self.lower(each, layer))]

    def lower(self, parameter: Parameter, layer: Layer) -> tuple[Layer, ...]:
        """Two operators, of which one has the taps."""
        place, rank = parameter
        early, late = place == TAPS_FIRST, place == TAPS_LAST
        between = layer.groups * least(rank, _most(place, layer))
        return (
            convolution(layer, (layer.in_channels, between), (early, early), last=False),
            convolution(
                layer, (between, layer.out_channels), (late, late), last=True, op=op_of(layer, rank)
            ),
        )

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """[runs, rank, inputs, ...] and [runs, outputs, rank, ...]."""
        from automl.compression.forms.algebra import basis, solved

        place, rank = parameter
        runs, outputs, inputs, height, width = kernel.shape
        whole = kernel.flatten(2)
        if place == TAPS_LAST:
            rank = min(rank, inputs, outputs * height * width)
            inner = inner_channels(kernel, metric, rank)
            after = solved(whole, over_taps(inner, kernel), metric)
            return inner[..., None, None], after.view(runs, outputs, rank, height, width)
        rank = min(rank, outputs, inputs * height * width)
        rows = basis(whole, metric, rank)
        before = rows.view(runs, rank, inputs, height, width)
        return before, solved(whole, rows, metric)[..., None, None]

    def write(self, parameter: Parameter) -> str:
        """As "first-16"."""
        return "-".join(map(str, parameter))

    def read(self, text: str) -> Parameter:
        """As "first-16"."""
        place, _, rank = text.partition("-")
        if place not in (TAPS_FIRST, TAPS_LAST):
            raise ValueError(f"{text!r} does not say whether the taps are first or last")
        return place, whole_number(rank)


def inner_channels(kernel: Tensor, metric: Tensor | None, rank: int) -> Tensor:
    """[runs, rank, inputs]: combinations of input channels, orthonormal, that tell most."""
    from automl.compression.forms.algebra import basis, taken

    rows = kernel.permute(0, 1, 3, 4, 2).flatten(1, 3)  # (output, y, x), input
    return basis(rows, taken(metric, kernel, "rcyxdyx->rcd"), rank)


def over_taps(inner: Tensor, kernel: Tensor) -> Tensor:
    """[runs, rank x taps, columns]: the same combinations at each tap of a kernel."""
    import torch

    taps = kernel[0, 0, 0].numel()
    eye = torch.eye(taps, dtype=inner.dtype)
    return torch.einsum("grc,tT->grtcT", inner, eye).reshape(len(inner), -1, kernel[0, 0].numel())


def _most(place: str, layer: Layer) -> int:
    """The rank of a group's matrix."""
    inputs, outputs = (each // layer.groups for each in (layer.in_channels, layer.out_channels))
    taps = layer.kernel[0] * layer.kernel[1]
    sides = (inputs * taps, outputs) if place == TAPS_FIRST else (inputs, outputs * taps)
    most: int = least(*sides)
    return most
