"""Each channel by itself, then all channels at each place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from automl.compression.forms.base import (
    CONVOLUTIONS,
    Form,
    convolution,
    least,
    saving,
    whole_number,
)
from automl.network import Extent, Layer

if TYPE_CHECKING:
    from torch import Tensor


class Separable(Form[int]):
    """A depthwise convolution that gives one or more maps for each channel, then a 1 x 1 one.

    Each channel's taps are those of least error if it was read alone; the 1 x 1 convolution is the
    best behind them.

    Source: the layers of Howard et al. 2017 (MobileNets), as what a trained layer becomes in closed
    form; Guo et al. 2018 (Network Decoupling) has it by singular values of the weights.
    """

    name = "separable"

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        """A layer takes it that has taps and mixes several channels."""
        if layer.op not in CONVOLUTIONS or max(layer.kernel) < 2:
            return "it has no taps"
        if layer.in_channels // layer.groups < 2:
            return "it reads each channel by itself already"
        most = _most(layer)
        if parameter is not None and parameter > most:
            return f"{parameter} maps for each channel are more than its {most}"
        return ""

    def parameters(self, layer: Layer) -> Sequence[int]:
        """One map for each channel, or two, where they save products."""
        found = (maps for maps in (1, 2) if maps <= _most(layer))
        return [maps for maps in found if saving(layer, self.lower(maps, layer))]

    def lower(self, parameter: int, layer: Layer) -> tuple[Layer, ...]:
        """The taps of each channel, then all channels."""
        read, alone = layer.in_channels, "depthwise_conv2d"
        between = read * least(parameter, _most(layer))
        return (
            convolution(layer, (read, between), (True, True), last=False, op=alone, groups=read),
            convolution(layer, (between, layer.out_channels), (False, False), last=True),
        )

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """[runs x inputs, maps, 1, height, width] and [runs, outputs, inputs x maps, 1, 1]."""
        import torch

        from automl.compression.forms.algebra import basis, solved

        runs, outputs, inputs, height, width = kernel.shape
        taps = height * width
        maps = min(parameter, outputs, taps)
        alone = kernel.permute(0, 2, 1, 3, 4).reshape(runs * inputs, outputs, taps)
        own = None
        if metric is not None:
            blocks = metric.view(runs, inputs, taps, inputs, taps)
            own = blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1).reshape(-1, taps, taps)
        each = basis(alone, own, maps)
        rows = torch.einsum(
            "gcmt,cd->gcmdt", each.view(runs, inputs, maps, taps), torch.eye(inputs).to(each)
        ).reshape(runs, inputs * maps, -1)
        across = solved(kernel.flatten(2), rows, metric)
        return each.view(-1, maps, 1, height, width), across[..., None, None]

    def compose(self, parameter: int, factors: Sequence[Tensor], window: Extent) -> Tensor:
        """Outputs over inputs, each with its own taps."""
        import torch

        each, across = factors
        runs, outputs = across.shape[:2]
        maps = each.shape[1]
        taps = each.view(runs, -1, maps, *window)
        return torch.einsum("gocm,gcmyx->gocyx", across.view(runs, outputs, -1, maps), taps)

    def write(self, parameter: int) -> str:
        """Maps for each channel."""
        return str(parameter)

    def read(self, text: str) -> int:
        """Maps for each channel."""
        return whole_number(text)


def _most(layer: Layer) -> int:
    """The rank of one channel's taps."""
    most: int = least(layer.out_channels // layer.groups, layer.kernel[0] * layer.kernel[1])
    return most
