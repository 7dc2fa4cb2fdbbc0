"""Fewer taps, the same ones in all kernels of a layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import CONVOLUTIONS, Form
from automl.network import Extent, Layer

if TYPE_CHECKING:
    from torch import Tensor

#: Rows and columns of taps that stay, and how far they are apart, in taps of the layer.
Parameter = tuple[int, int, int]


class Taps(Form[Parameter]):
    """The taps around the middle, or every second one; those that stay compensate for the others.

    Source: Anwar et al. 2017 (Structured Pruning of Deep Convolutional Neural Networks),
    intra-kernel strided sparsity. Differs: one pattern a layer, least squares in the metric of the
    inputs' moments.
    """

    name = "taps"

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that has several taps, and pads what the others read."""
        if layer.op not in CONVOLUTIONS or max(layer.kernel) < 2:
            return "it has no taps"
        if parameter is None:
            return ""
        return _refusal(parameter, layer)

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """One tap along an axis, all but the outermost, or every second; the fewest first."""
        near = [{1, max(1, whole - 2), whole} for whole in layer.kernel]
        second = [{1, (whole + 1) // 2} if whole > 3 else {1} for whole in layer.kernel]
        found = [
            *((rows, columns, 1) for rows, columns in product(*near)),
            *((rows, columns, 2) for rows, columns in product(*second) if max(rows, columns) > 1),
        ]
        fits = [each for each in found if not _refusal(each, layer)]
        return sorted(fits, key=lambda each: (each[0] * each[1], each))

    def lower(self, parameter: Parameter, layer: Layer) -> tuple[Layer, ...]:
        """The layer with a smaller kernel."""
        rows, columns, apart = parameter
        padding = tuple(
            pad - spread * cut
            for pad, spread, cut in zip(
                layer.padding, layer.dilation, _cut(parameter, layer.kernel), strict=True
            )
        )
        dilation = tuple(
            spread * (apart if left > 1 else 1)
            for spread, left in zip(layer.dilation, (rows, columns), strict=True)
        )
        return (replace(layer, kernel=(rows, columns), padding=padding, dilation=dilation),)

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """[runs, outputs, inputs, rows, columns]."""
        import torch

        from automl.compression.forms.algebra import solved

        window = kernel.shape[3:]
        stay = torch.zeros(kernel.shape[2:], dtype=torch.bool)
        stay[(slice(None), *_kept(parameter, window))] = True
        rows = torch.eye(stay.numel(), dtype=kernel.dtype)[stay.flatten()]
        found = solved(kernel.flatten(2), rows.expand(len(kernel), -1, -1), metric)
        return (found.view(*kernel.shape[:3], *parameter[:2]),)

    def compose(self, parameter: Parameter, factors: Sequence[Tensor], window: Extent) -> Tensor:
        """The taps in their places among zeros."""
        (found,) = factors
        whole = found.new_zeros(*found.shape[:3], *window)
        whole[(..., *_kept(parameter, window))] = found
        return whole

    def write(self, parameter: Parameter) -> str:
        """As "3x1"; "3x3d2" is every second of five by five."""
        rows, columns, apart = parameter
        return f"{rows}x{columns}" + (f"d{apart}" if apart > 1 else "")

    def read(self, text: str) -> Parameter:
        """As "3x1" or "3x3d2"."""
        found = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)(?:d([2-9]))?", text, re.ASCII)
        if found is None:
            raise ValueError(f"{text!r} is no kernel such as 3x1 or 3x3d2")
        return int(found[1]), int(found[2]), int(found[3] or 1)


def _refusal(parameter: Parameter, layer: Layer) -> str:
    rows, columns, apart = parameter
    shown = f"{rows}x{columns} taps" + (f" {apart} apart" if apart > 1 else "")
    reaches = [(left - 1) * apart + 1 for left in (rows, columns)]
    left_over = [whole - reach for reach, whole in zip(reaches, layer.kernel, strict=True)]
    if any(each < 0 or each % 2 for each in left_over):
        return f"{shown} are not in the middle of its {_shown(layer.kernel)}"
    if (rows, columns) == layer.kernel:
        return f"{shown} are all that it has"
    cut = _cut(parameter, layer.kernel)
    pads = zip(layer.padding, layer.dilation, cut, strict=True)
    if any(pad < spread * each for pad, spread, each in pads):
        return f"{shown} read less than its {_shown(layer.kernel)}: it pads too little"
    return ""


def _shown(kernel: Extent) -> str:
    return "x".join(map(str, kernel))


def _cut(parameter: Parameter, window: Extent) -> Extent:
    """How many taps go before the first that stays, along each axis."""
    *left, apart = parameter
    return tuple(
        (whole - (each - 1) * apart - 1) // 2 for each, whole in zip(left, window, strict=True)
    )


def _kept(parameter: Parameter, window: Extent) -> tuple[Any, ...]:
    *left, apart = parameter
    return tuple(
        slice(first, first + (each - 1) * apart + 1, apart)
        for first, each in zip(_cut(parameter, window), left, strict=True)
    )
