"""Kernels as frequencies, of which the strong ones are kept in few bits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import CONVOLUTIONS, DenseForm, StoredPart
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor

#: Percent of the frequencies' numbers that stay, and the bits of each.
Parameter = tuple[int, int]


class Frequencies(DenseForm[Parameter]):
    """The cosine transform of each kernel, of which a share stays, in a codebook's values.

    Numbers that stay compensate for those that go, as with `unstructured`; then they are shared.

    Source: Wang et al. 2016 (CNNpack). Differs: what goes is chosen in the metric of the inputs'
    moments; kernels are not shared among each other first.
    """

    name = "dct"

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that has taps."""
        if layer.op not in CONVOLUTIONS or max(layer.kernel) < 2:
            return "it has no taps"
        return ""

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """Shares of 5 bits each, where they are smaller than the layer."""
        dense = float(operators_bytes([layer], Bits()))
        tried = [(percent, 5) for percent in (25, 50, 75)]
        return [each for each in tried if float(self.bytes(each, layer, Bits())) < dense]

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The member: [runs, outputs, inputs, height, width]."""
        from automl.compression.forms.masking import OBS, masked, share
        from automl.compression.quantization.codebook import codebook

        percent, bits = parameter
        turn = _transform(kernel)
        within = (kernel.flatten(3) @ turn.T).flatten(2)
        measured = None
        if metric is not None:
            inputs, taps = kernel.shape[2], len(turn)
            wide = metric.view(-1, inputs, taps, inputs, taps)
            wide = (wide @ turn.T).transpose(2, 4) @ turn.T
            measured = wide.transpose(2, 4).reshape(metric.shape)
        kept = _kept(percent, within.numel())
        choice = share(1, within.shape[2], kept, "" if measured is None else OBS)
        found = masked(within, measured, choice, OBS)
        places = _strongest(found, kept)
        book = codebook(found.flatten()[places].view(1, 1, -1), bits)
        found = found.new_zeros(found.numel()).index_put_((places,), book.values().double()[0, 0])
        return ((found.view(*kernel.shape[:3], -1) @ turn).view(kernel.shape),)

    def bytes(self, parameter: Parameter, layer: Layer, bits: Bits) -> Any:
        """A bit a number, an index for those that stay, and the codebook.

        A layer that is rounded has its weights one by one.
        """
        if bits.weights < FLOAT_BITS:
            return operators_bytes([layer], bits)
        percent, own = parameter
        pairs = layer.in_channels * layer.out_channels // layer.groups
        numbers = pairs * layer.kernel[0] * layer.kernel[1]
        kept = _kept(percent, numbers)
        return (numbers + 7) // 8 + (kept * own + 7) // 8 + 4 * (1 << own)

    def pack(self, parameter: Parameter, kernel: Tensor) -> tuple[StoredPart, ...]:
        """Which numbers stay, the codebook, and each one's index."""
        import torch

        from automl.compression.quantization.codebook import codebook

        percent, bits = parameter
        within = (kernel.flatten(3) @ _transform(kernel).T).flatten()
        kept = _kept(percent, len(within))
        places = _strongest(within, kept)
        book = codebook(within[places].view(1, 1, -1), bits)
        stays = torch.zeros(len(within), dtype=torch.int64).index_fill_(0, places, 1)
        entries = torch.zeros(1 << bits)
        entries[: len(book.entries)] = book.entries
        return StoredPart(stays, 1), StoredPart(entries), StoredPart(book.indices.flatten(), bits)

    def unpack(self, parameter: Parameter, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        stays, entries, indices = parts
        within = entries.new_zeros(len(stays))
        within[stays.bool()] = entries[indices.long()]
        whole = within.view(*shape[:3], -1)
        return (whole @ _transform(whole.view(*shape))).view(*shape)

    def write(self, parameter: Parameter) -> str:
        """As "25-5": a quarter stays, in 5 bits."""
        return "-".join(map(str, parameter))

    def read(self, text: str) -> Parameter:
        """As "25-5"."""
        found = re.fullmatch(r"([1-9]\d?)-([1-8])", text, re.ASCII)
        if found is None:
            raise ValueError(f"{text!r} is no percentage and bits such as 25-5")
        return int(found[1]), int(found[2])


def _transform(kernel: Tensor) -> Tensor:
    """The orthonormal cosine transform of a kernel's taps: [taps, taps]."""
    import torch

    sides = []
    for count in kernel.shape[3:]:
        places = torch.arange(count, dtype=torch.float64)
        wave = torch.cos(torch.pi / count * (places[None] + 0.5) * places[:, None])
        sides.append(wave / wave.square().sum(1, keepdim=True).sqrt())
    return torch.kron(*sides).to(kernel.dtype)


def _strongest(numbers: Tensor, count: int) -> Tensor:
    """Places of the largest, ascending."""
    places: Tensor = numbers.flatten().abs().topk(count).indices.sort().values
    return places


def _kept(percent: int, numbers: Any) -> Any:
    """How many numbers stay, rounded up."""
    return -(-numbers * percent // 100)
