"""Stretches of weights that are few: product quantisation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import CONVOLUTIONS, DenseForm, StoredPart, least
from automl.compression.forms.shared import up
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor

#: Weights of a stretch, and bits that say which it is.
Parameter = tuple[int, int]


class ProductQuantised(DenseForm[Parameter]):
    """Neighbouring weights of an output are one of few stretches, which all outputs share.

    K-means finds the stretches, weighted by the inputs' moments; each place then takes one with the
    errors of those before compensated, and the stretches are solved again for who has which.

    Source: Wu et al. 2016 (Quantized Convolutional Neural Networks), with its error correction;
    Wu et al. 2018 (Deep k-Means) for stretches of kernels. Differs: one codebook a layer, in closed
    form in the full metric; it runs as the dense layer, by no tables of products.
    """

    name = "pq"
    ops = (*CONVOLUTIONS, "linear")

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it whose outputs have enough weights for a stretch."""
        if layer.op not in self.ops:
            return f"it is a {layer.op}"
        columns = _columns(layer)
        if columns < 2:
            return "it has one weight an output"
        if parameter is None or parameter[0] <= columns:
            return ""
        return f"it has {columns} weights an output, no {parameter[0]}"

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """Three quarters of a bit a weight to two, where that makes the layer smaller."""
        dense = float(operators_bytes([layer], Bits()))
        tried = [(8, 6), (4, 4), (4, 6), (4, 8)]
        fits = [each for each in tried if not self.refusal(each, layer)]
        return [each for each in fits if float(self.bytes(each, layer, Bits())) < dense]

    def bytes(self, parameter: Parameter, layer: Layer, bits: Bits) -> Any:
        """An index for each stretch, and those that there are."""
        if bits.weights < FLOAT_BITS:
            return operators_bytes([layer], bits)
        length, own = parameter
        places = layer.out_channels * up(_columns(layer), length)
        return up(places * own, 8) + least(1 << own, places) * length * (bits.weights / 8)

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The member: [runs, outputs, inputs, height, width]."""
        from automl.compression.forms.stretches import shared_stretches

        length, bits = parameter
        weights = kernel.flatten(2)
        if metric is None and len(_told(weights, length)[0]) <= 1 << bits:
            return (kernel,)
        return (shared_stretches(weights, metric, length, 1 << bits).view(kernel.shape),)

    def pack(self, parameter: Parameter, kernel: Tensor) -> tuple[StoredPart, ...]:
        """The stretches, and which each place has.

        Raises:
            ValueError: The kernel is no member.
        """
        length, bits = parameter
        found, index = _told(kernel.flatten(2), length)
        few = min(1 << bits, index.numel())
        if len(found) > few:
            raise ValueError(f"{len(found)} stretches of {length} are more than {few}")
        entries = found.new_zeros(few, length)
        entries[: len(found)] = found
        return StoredPart(entries.flatten()), StoredPart(index.flatten(), bits)

    def unpack(self, parameter: Parameter, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        entries, index = parts
        rows = entries.view(-1, parameter[0])[index.long()].view(*shape[:2], -1)
        columns = shape[2] * shape[3] * shape[4]
        return rows[..., :columns].reshape(*shape)

    def write(self, parameter: Parameter) -> str:
        """As "4-6": stretches of 4 weights, told by 6 bits."""
        return "-".join(map(str, parameter))

    def read(self, text: str) -> Parameter:
        """As "4-6"."""
        found = re.fullmatch(r"([2-9]|[1-9]\d)-(1[0-2]|[1-9])", text, re.ASCII)
        if found is None:
            raise ValueError(f"{text!r} is no length, 2 to 99, and bits, 1 to 12: write 4-6")
        return int(found[1]), int(found[2])


def _columns(layer: Layer) -> Any:
    return layer.in_channels // layer.groups * layer.kernel[0] * layer.kernel[1]


def _told(weights: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """All different stretches, [stretches, length], and which each place has: [rows, places].

    The last of a row may be shorter: it is the beginning of one.
    """
    import torch
    from torch.nn.functional import pad

    rows, more = weights.flatten(0, 1), -weights.shape[2] % length
    every = pad(rows, (0, more)).view(len(rows), -1, length)
    whole, last = every.split((every.shape[1] - 1, 1), 1) if more else (every, every[:, :0])
    found, index = whole.new_zeros(0, length), torch.zeros(whole.shape[:2], dtype=torch.long)
    if whole.numel():
        found, index = whole.flatten(0, 1).unique(dim=0, return_inverse=True)
        index = index.view(whole.shape[:2])
    if not more:
        return found, index
    ends, own = last.flatten(0, 1).unique(dim=0, return_inverse=True)
    alike = (ends[:, None, :-more] == found[:, :-more]).all(2)
    known = alike.any(1)
    place = torch.where(known, alike.int().argmax(1) if len(found) else 0, 0)
    place[~known] = len(found) + torch.arange(int((~known).sum()))
    return torch.cat([found, ends[~known]]), torch.cat([index, place[own][:, None]], 1)
