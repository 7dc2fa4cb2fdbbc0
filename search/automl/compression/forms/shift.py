"""One tap a channel: each input is moved, then all are read at one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from automl.compression.forms.base import CONVOLUTIONS, Form, convolution, saving
from automl.network import Extent, Layer

if TYPE_CHECKING:
    from torch import Tensor


class Shift(Form[str]):
    """Each input channel is read at one tap, the same for all outputs, then a 1 x 1 convolution.

    Which tap a channel has is chosen given those of the others, channel by channel, until none
    changes; the 1 x 1 convolution is the best behind them. A move runs as a depthwise convolution
    whose kernel is a single 1: no runtime that is priced has another kernel for it.

    Source: Wu et al. 2018 (Shift); Jeon and Kim 2018 (active shift) and Chen et al. 2019 (All You
    Need Is a Few Shifts) learn the moves, by whole places in the latter. Differs: in closed form in
    the metric of the inputs' moments, for a trained layer.
    """

    name = "shift"

    def refusal(self, parameter: str | None, layer: Layer) -> str:
        """A layer takes it that has taps and mixes several channels."""
        if layer.op not in CONVOLUTIONS or max(layer.kernel) < 2:
            return "it has no taps"
        if layer.in_channels // layer.groups < 2:
            return "it reads each channel by itself already"
        return ""

    def parameters(self, layer: Layer) -> Sequence[str]:
        """None to choose: one way, where it saves products."""
        return [""] if saving(layer, self.lower("", layer)) else []

    def lower(self, parameter: str, layer: Layer) -> tuple[Layer, ...]:
        """The moves, then all channels."""
        read, alone = layer.in_channels, "depthwise_conv2d"
        return (
            convolution(layer, (read, read), (True, True), last=False, op=alone, groups=read),
            convolution(layer, (read, layer.out_channels), (False, False), last=True),
        )

    def factors(self, parameter: str, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """[runs x inputs, 1, 1, height, width] and [runs, outputs, inputs, 1, 1]."""
        import torch

        from automl.compression.forms.moving import moved

        runs, _, inputs, height, width = kernel.shape
        found = [
            moved(each.flatten(2), None if metric is None else metric[run])
            for run, each in enumerate(kernel)
        ]
        places = torch.stack([taps for taps, _ in found]).view(-1, 1)
        alone = kernel.new_zeros(runs * inputs, height * width).scatter_(1, places, 1.0)
        across = torch.stack([weights for _, weights in found])
        return alone.view(-1, 1, 1, height, width), across[..., None, None]

    def compose(self, parameter: str, factors: Sequence[Tensor], window: Extent) -> Tensor:
        """Outputs over inputs, each at its tap."""
        alone, across = factors
        runs, _, inputs = across.shape[:3]
        return across * alone.view(runs, 1, inputs, *window)

    def write(self, parameter: str) -> str:
        """Nothing."""
        return parameter

    def read(self, text: str) -> str:
        """Nothing."""
        if text:
            raise ValueError(f"{text!r}: there is one way to shift, without a parameter")
        return text
