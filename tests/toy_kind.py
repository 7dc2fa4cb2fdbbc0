"""A kind of choice of one's own: a k x k convolution as a k x 1 and a 1 x k one of some rank.

Jaderberg et al., "Speeding up Convolutional Neural Networks with Low Rank Expansions", 2014; plain
singular values, no data. One class and one line for the registry: all that a kind takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from automl.compression import LayerKind
from automl.methods import Method
from automl.network.layers import Layer
from automl.space import KINDS

Tensor = torch.Tensor


class TaperKind(LayerKind[int]):
    """How many channels run between a column and a row of taps."""

    name = "taper"

    def forms(self, layer: Layer) -> Sequence[int]:
        square = layer.op == "conv2d" and layer.groups == 1 and layer.kernel == (3, 3)
        return (1, 2, 4) if square else ()

    def operators(self, form: int, layer: Layer) -> tuple[Layer, ...]:
        between = (layer.out_size[0], layer.in_size[1])
        column = replace(
            layer,
            out_channels=form,
            kernel=(layer.kernel[0], 1),
            stride=(layer.stride[0], 1),
            padding=(layer.padding[0], 0),
            out_size=between,
        )
        row = replace(
            layer,
            in_channels=form,
            kernel=(1, layer.kernel[1]),
            stride=(1, layer.stride[1]),
            padding=(0, layer.padding[1]),
            in_size=between,
        )
        return column, row

    def fit(self, form: int, module: nn.Module, moments: Tensor | None) -> Tensor:
        column, row = factors(module, form)
        weights = torch.einsum("rcy,orx->ocyx", column, row)
        return weights.flatten(1).unsqueeze(0)

    def replacement(self, form: int, module: nn.Module) -> nn.Module:
        conv: Any = module
        column, row = factors(conv, form)
        (height, width), (down, right), (top, left) = conv.kernel_size, conv.stride, conv.padding
        first = nn.Conv2d(
            conv.in_channels, form, (height, 1), (down, 1), padding=(top, 0), bias=False
        )
        second = nn.Conv2d(form, conv.out_channels, (1, width), (1, right), padding=(0, left))
        with torch.no_grad():
            first.weight.copy_(column.unsqueeze(3))
            second.weight.copy_(row.unsqueeze(2))
            assert second.bias is not None
            second.bias.copy_(conv.bias)
        return nn.Sequential(first, second)

    def write(self, form: int) -> str:
        return f"rank {form}"

    def read(self, text: str) -> int:
        word, _, number = text.partition(" ")
        if word != "rank":
            raise ValueError(f"{text!r} is no rank")
        return int(number)


def factors(module: Any, rank: int) -> tuple[Tensor, Tensor]:
    """The column [rank, inputs, height] and the row [outputs, rank, width] nearest to a layer."""
    outputs, inputs, height, width = module.weight.shape
    flat = module.weight.detach().double().permute(1, 2, 0, 3).reshape(inputs * height, -1)
    left, values, right = torch.linalg.svd(flat, full_matrices=False)
    rank = min(rank, len(values))
    column = (left[:, :rank] * values[:rank].sqrt()).T.reshape(rank, inputs, height)
    row = (values[:rank].sqrt()[:, None] * right[:rank]).reshape(rank, outputs, width)
    return column.float(), row.transpose(0, 1).float()


TAPER = Method("taper", "A column and a row.", "Jaderberg et al., 2014", f"{__name__}:TaperKind")


def known() -> AbstractContextManager[None]:
    """The kind is known while a test lasts."""
    return KINDS.including(TAPER)
