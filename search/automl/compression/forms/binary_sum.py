"""Weights that are sums of few binary ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from automl.compression.forms.base import CONVOLUTIONS, DenseForm, StoredPart
from automl.compression.forms.shared import up
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor

#: Rounds in which signs are chosen and scales solved.
_ROUNDS: Final = 3
#: Magnitudes that agree up to so much of the largest are those of a sum.
_SAME: Final = 1e-5


class BinarySum(DenseForm[int]):
    """Each output's weights are a sum of one to three binary ones, each with a scale.

    Signs are chosen column by column, with the errors of those before compensated; scales are those
    of least squares given the signs, in turns.

    Source: Lin et al. 2017 (ABC-Net), weights. Differs: nothing is trained and activations are
    floats; signs and scales are found in the metric of the inputs' moments, where the paper shifts
    weights by fixed shares of their deviation; a scale an output. No kernel of a priced runtime
    computes it: it runs as the dense layer.
    """

    name = "binary-sum"
    ops = (*CONVOLUTIONS, "linear")

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        """A layer takes it that has several weights an output."""
        if layer.op not in self.ops:
            return f"it is a {layer.op}"
        return "" if layer.in_channels // layer.groups * _taps(layer) > 1 else _ONE

    def parameters(self, layer: Layer) -> Sequence[int]:
        """One to three, where they make the layer smaller."""
        dense = float(operators_bytes([layer], Bits()))
        return [each for each in (1, 2, 3) if float(self.bytes(each, layer, Bits())) < dense]

    def bytes(self, parameter: int, layer: Layer, bits: Bits) -> Any:
        """A bit a weight and a scale an output, for each binary one."""
        if bits.weights < FLOAT_BITS:
            return operators_bytes([layer], bits)
        weights = layer.out_channels * (layer.in_channels // layer.groups) * _taps(layer)
        scales = parameter * layer.out_channels
        return up(weights * parameter, 8) + scales * (bits.weights / 8)

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """The member: [runs, outputs, inputs, height, width]."""
        import torch

        weights = kernel.flatten(2)
        if metric is None:
            if _scales(weights.flatten(0, 1), parameter) is not None:
                return (kernel,)
            metric = torch.eye(weights.shape[2]).to(weights).expand(len(weights), -1, -1)
        return (_summed(weights, metric, parameter).view(kernel.shape),)

    def pack(self, parameter: int, kernel: Tensor) -> tuple[StoredPart, ...]:
        """The signs of each weight, and the scales.

        Raises:
            ValueError: The kernel is no member.
        """
        rows = kernel.flatten(0, 1).flatten(1)
        scales = _scales(rows, parameter)
        if scales is None:
            raise ValueError(f"these are no sums of {parameter} binary weights an output")
        sums = scales @ _signs(parameter).to(rows)
        codes = (rows[..., None] - sums[:, None]).abs().argmin(2)
        return StoredPart(codes.flatten(), parameter), StoredPart(scales.flatten())

    def unpack(self, parameter: int, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        codes, scales = parts
        sums = scales.view(-1, parameter) @ _signs(parameter).to(scales)
        return sums.gather(1, codes.long().view(len(sums), -1)).view(*shape)

    def write(self, parameter: int) -> str:
        """How many are added."""
        return str(parameter)

    def read(self, text: str) -> int:
        """How many are added, 1 to 3."""
        if text not in ("1", "2", "3"):
            raise ValueError(f"{text!r} is no number of binary weights that are added, 1 to 3")
        return int(text)


_ONE: Final = "it has one weight an output"


def _taps(layer: Layer) -> int:
    return layer.kernel[0] * layer.kernel[1]


def _signs(count: int) -> Tensor:
    """All of them: [count, 2^count]."""
    import torch

    return (1 - 2 * (torch.arange(1 << count) >> torch.arange(count)[:, None] & 1)).double()


def _summed(weights: Tensor, metric: Tensor, count: int) -> Tensor:
    """Sums of least error: [runs, outputs, columns], as float32 has them."""
    import torch

    from automl.compression.quantization.rounding import output_error, rounded_among

    table, own = _signs(count), metric.diagonal(dim1=1, dim2=2)[:, None]
    scales: list[Tensor] = []
    left = weights
    for _ in range(count):  # each takes what those before it leave
        scales.append((left.abs() * own).sum(2) / own.sum(2))
        left = left - scales[-1][..., None] * torch.where(left < 0, -1.0, 1.0)
    scale = torch.stack(scales, 2)
    best, least = torch.zeros_like(weights), torch.full(weights.shape[:2], torch.inf).double()
    for _ in range(_ROUNDS):
        scale = scale.abs().sort(2, descending=True).values
        sums = (scale @ table).float().double()
        found = rounded_among(weights, metric, sums)
        error = output_error(weights, found, metric)
        best = torch.where((error < least)[..., None], found, best)
        least = torch.minimum(error, least)
        codes = (found[..., None] - sums[:, :, None]).abs().argmin(3)
        chosen = table[:, codes].permute(1, 2, 0, 3)  # [runs, outputs, count, columns]
        across = chosen @ metric[:, None]
        grams = across @ chosen.transpose(2, 3)
        pull = 1e-9 * grams.diagonal(dim1=2, dim2=3).mean(2)[..., None].clamp_min(1e-30)
        wanted = (across @ weights[..., None]).squeeze(3) + pull * scale
        scale = torch.linalg.solve(grams + torch.diag_embed(pull.expand_as(scale)), wanted)
    return best


def _scales(rows: Tensor, count: int) -> Tensor | None:
    """The scales [rows, count] whose sums rows are, largest first; None of what is none.

    Sums of a >= b >= c have magnitudes a+b+c, a+b-c, a-b+c and |a-b-c|, which tell them.
    """
    import torch

    found = torch.zeros(len(rows), count, dtype=torch.float64)
    for row, scales in zip(rows.abs(), found, strict=True):
        sizes = row.unique().flip(0).tolist()
        if len(sizes) > 1 << (count - 1):
            return None
        first = sizes[0]
        if len(sizes) == 1:
            scales[0] = first
        elif len(sizes) == 2:
            scales[0], scales[1] = (first + sizes[1]) / 2, (first - sizes[1]) / 2
        else:
            second, third = sizes[1:3]
            told = abs(first - second - third)
            if len(sizes) > 3 and abs(sizes[3] - told) > _SAME * first:
                return None
            scales[:] = (
                torch.tensor([second + third, first - third, first - second], dtype=torch.float64)
                / 2
            )
    return found
