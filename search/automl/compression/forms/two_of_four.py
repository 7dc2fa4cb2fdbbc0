"""Two of four neighbouring input channels: what sparse tensor cores compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from automl.compression.forms.base import CONVOLUTIONS, DenseForm, StoredPart, least
from automl.compression.forms.masks import ordered
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor

_STAY, _OF = 2, 4
#: Bits that say which of four a weight is.
_INDEX_BITS: Final = 2
#: Input channels along which four are neighbours, behind the taps.
_ORDER: Final = (1, 2, 0)


class TwoOfFour(DenseForm[str]):
    """Of every four neighbouring input channels at one tap of one output, two have weights.

    The parameter is what chooses them: "obs" (those that stay compensate for the others), or
    "magnitude" and "obd", which leave the others as they are.

    Source: Mishra et al. 2021 (Accelerating Sparse Deep Neural Networks) for the pattern; Frantar
    and Alistarh 2023 (SparseGPT) for the order and the correction. Differs: weights that stay are
    solved for by least squares at the end. Needs tensor cores that skip zeros: it is offered where
    a table has rows of them ("fp16+2:4").
    """

    name = "2:4"
    ops = (*CONVOLUTIONS, "linear")
    kernel = "2:4"
    takes_bits = True

    def refusal(self, parameter: str | None, layer: Layer) -> str:
        """A layer takes it whose groups read a multiple of four channels."""
        if layer.op not in self.ops:
            return "it is no convolution over maps and no linear layer"
        read = layer.in_channels // layer.groups
        return f"it reads {read} channels, no multiple of {_OF}" if read % _OF else ""

    def parameters(self, layer: Layer) -> Sequence[str]:
        """With correction."""
        return ("obs",)

    def kernel_of(self, operator: Layer) -> Any:
        """That of the pattern, where fours of channels are whole; the plain one of other widths."""
        import numpy as np

        whole = np.equal(operator.in_channels // operator.groups % _OF, 0)
        return np.where(whole, self.kernel, "")[()]

    def factors(self, parameter: str, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """The member: [runs, outputs, inputs, height, width].

        Where channels were cut, fewer than four at the end keep two: no sparse kernel runs that,
        and it has the price of the plain one.
        """
        from automl.compression.forms.masking import masked, some_of

        turned = kernel.permute(0, 1, 3, 4, 2)
        runs, outputs, *taps, read = turned.shape
        found = masked(
            turned.flatten(2), ordered(metric, kernel, _ORDER), some_of(_STAY, _OF, read), parameter
        )
        return (found.view(runs, outputs, *taps, read).permute(0, 1, 4, 2, 3),)

    def bytes(self, parameter: str, layer: Layer, bits: Bits) -> Any:
        """The weights that stay, and which of four each is; of a rounded layer all."""
        if bits.weights < FLOAT_BITS:
            return operators_bytes([layer], bits)
        read = layer.in_channels // layer.groups
        stay = _STAY * (read // _OF) + least(read % _OF, _STAY)
        kept = layer.out_channels * stay * layer.kernel[0] * layer.kernel[1]
        return (kept * _INDEX_BITS + 7) // 8 + kept * (bits.weights / 8)

    def pack(self, parameter: str, kernel: Tensor) -> tuple[StoredPart, ...]:
        """Which of four each weight that stays is, and these weights."""
        import torch

        index, values = [], []
        rows = kernel.permute(0, 1, 3, 4, 2).reshape(-1, kernel.shape[2])
        for four in rows.split(_OF, 1):
            stay = min(_STAY, four.shape[1])
            places = four.abs().topk(stay, 1).indices.sort(1).values
            index.append(places)
            values.append(four.gather(1, places))
        return StoredPart(torch.cat(index, 1).flatten(), _INDEX_BITS), StoredPart(
            torch.cat(values, 1).flatten()
        )

    def unpack(self, parameter: str, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        import torch

        index, values = parts
        runs, outputs, read, *taps = shape
        count = runs * outputs * taps[0] * taps[1]
        fours = [min(_OF, read - first) for first in range(0, read, _OF)]
        lengths = [min(_STAY, four) for four in fours]
        rows = values.new_zeros(count, read)
        found = (each.view(count, -1).split(lengths, 1) for each in (index.long(), values))
        filled = [
            four.scatter(1, places, weights)
            for four, places, weights in zip(rows.split(_OF, 1), *found, strict=True)
        ]
        return torch.cat(filled, 1).view(runs, outputs, *taps, read).permute(0, 1, 4, 2, 3)

    def write(self, parameter: str) -> str:
        """Nothing of the usual."""
        return "" if parameter == "obs" else parameter

    def read(self, text: str) -> str:
        """What chooses the weights."""
        from automl.compression.forms.masking import SALIENCIES

        if text == "" or text in SALIENCIES[1:]:
            return text or SALIENCIES[0]
        raise ValueError(f"{text!r} chooses no weights: {', '.join(SALIENCIES[1:])} do")
