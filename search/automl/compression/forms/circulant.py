"""Blocks of channels in which each row is the one before it, turned by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.shared import TiedForm, up
from automl.network import Layer

if TYPE_CHECKING:
    from torch import Tensor


class Circulant(TiedForm):
    """Outputs and inputs in blocks of so many; in each block and tap a circulant matrix.

    Source: Ding et al. 2017 (CirCNN), block-circulant weights; Cheng et al. 2015. Differs: the
    nearest such matrix in the metric of the inputs' moments, of weights that were trained without;
    no Fourier transform runs, as no runtime that is priced has it.
    """

    name = "circulant"

    def count(self, parameter: int, layer: Layer) -> Any:
        """One row of each block and tap."""
        blocks = up(layer.out_channels, parameter) * up(layer.in_channels, parameter)
        return blocks * parameter * layer.kernel[0] * layer.kernel[1]

    def places(self, parameter: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, int]:
        """By the diagonal of a block."""
        import torch

        _, outputs, inputs, height, width = shape
        rows, columns = torch.arange(outputs)[:, None], torch.arange(inputs)[None]
        across, taps = up(inputs, parameter), height * width
        blocks = rows // parameter * across + columns // parameter
        pairs = blocks * parameter + (columns - rows) % parameter
        places = (pairs[..., None] * taps + torch.arange(taps)).view(1, outputs, -1)
        return places, torch.ones_like(places), up(outputs, parameter) * across * parameter * taps
