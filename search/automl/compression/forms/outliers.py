"""Few large weights as they are, the others in few bits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import CONVOLUTIONS, DenseForm, StoredPart
from automl.compression.forms.shared import index_bits, up
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor

#: Bits of the weights that are rounded, and percent of each output's weights that are not.
Parameter = tuple[int, int]


class Outliers(DenseForm[Parameter]):
    """The largest weights of each output are floats; the others are integers with one scale.

    Without the largest the scale is finer. They are solved for after the others are rounded, so
    that they compensate for what rounding did; they stay the largest.

    Source: Park et al. 2018 (Value-Aware Quantization). Differs: nothing is trained and activations
    are floats; the others are rounded by their second order, with the errors of those before
    compensated; each output has as many large weights as another.
    """

    name = "outliers"
    ops = (*CONVOLUTIONS, "linear")

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that has several weights an output."""
        if layer.op not in self.ops:
            return f"it is a {layer.op}"
        return "" if _columns(layer) > 1 else "it has one weight an output"

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """2 to 4 bits with one weight of a hundred, where they make the layer smaller."""
        dense = float(operators_bytes([layer], Bits()))
        tried = [(bits, 1) for bits in (2, 3, 4)]
        return [each for each in tried if float(self.bytes(each, layer, Bits())) < dense]

    def bytes(self, parameter: Parameter, layer: Layer, bits: Bits) -> Any:
        """Codes, a scale an output, and the large weights with their places."""
        if bits.weights < FLOAT_BITS:
            return operators_bytes([layer], bits)
        own, percent = parameter
        columns = _columns(layer)
        few = layer.out_channels * _few(percent, columns)
        codes = up(layer.out_channels * columns * own, 8) + up(few * index_bits(columns), 8)
        return codes + (few + layer.out_channels) * (bits.weights / 8)

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The member: [runs, outputs, inputs, height, width]."""
        import torch

        bits, percent = parameter
        weights = kernel.flatten(2)
        if metric is None:
            if _parted(parameter, weights) is not None:
                return (kernel,)
            metric = torch.eye(weights.shape[2]).to(weights).expand(len(weights), -1, -1)
        large = _largest(weights, _few(percent, weights.shape[2]))
        return (_rounded(weights, metric, large, bits).view(kernel.shape),)

    def pack(self, parameter: Parameter, kernel: Tensor) -> tuple[StoredPart, ...]:
        """Codes, scales, and the columns and values of the large weights.

        Raises:
            ValueError: The kernel is no member.
        """
        found = _parted(parameter, kernel.flatten(2))
        if found is None:
            raise ValueError(f"these are no weights of {self.name} {self.write(parameter)}")
        codes, scale, places, values = found
        columns = kernel.flatten(2).shape[2]
        return (
            StoredPart(codes.flatten() + _highest(parameter[0]), parameter[0]),
            StoredPart(scale.flatten()),
            StoredPart(places.flatten(), int(index_bits(columns))),
            StoredPart(values.flatten()),
        )

    def unpack(self, parameter: Parameter, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        codes, scale, places, values = parts
        rows = shape[0] * shape[1]
        whole = (codes.view(rows, -1) - _highest(parameter[0])) * scale.view(rows, 1)
        whole.scatter_(1, places.view(rows, -1).long(), values.view(rows, -1))
        return whole.view(*shape)

    def write(self, parameter: Parameter) -> str:
        """As "3-1": 3 bits, and one of a hundred weights as it is."""
        return "-".join(map(str, parameter))

    def read(self, text: str) -> Parameter:
        """As "3-1": 2 to 4 bits, 1 to 20 percent."""
        found = re.fullmatch(r"([2-4])-(1?[1-9]|[12]0)", text, re.ASCII)
        if found is None:
            raise ValueError(f"{text!r} is no bits, 2 to 4, and percent, 1 to 20: write 3-1")
        return int(found[1]), int(found[2])


def _columns(layer: Layer) -> Any:
    return layer.in_channels // layer.groups * layer.kernel[0] * layer.kernel[1]


def _few(percent: int, columns: Any) -> Any:
    """How many weights of an output are large, one at least."""
    return up(columns * percent, 100)


def _highest(bits: int) -> int:
    return (1 << (bits - 1)) - 1


def _largest(weights: Tensor, few: int) -> Tensor:
    """Where the largest of each output are: bool, of the weights' shape."""
    import torch

    places = weights.abs().topk(few, 2).indices
    return torch.zeros_like(weights, dtype=torch.bool).scatter_(2, places, True)


def _rounded(weights: Tensor, metric: Tensor, large: Tensor, bits: int) -> Tensor:
    import torch

    from automl.compression.forms.clustering import solved_on
    from automl.compression.quantization.qparams import fitted_qparams, round_to, weight_qparams
    from automl.compression.quantization.rounding import rounded_beside

    qparams = weight_qparams(weights.masked_fill(large, 0.0), bits, moments=metric)
    found = rounded_beside(weights, metric, qparams, large)
    codes = round_to(found.masked_fill(large, 0.0).float(), qparams)
    aim = weights - found.masked_fill(~large, 0.0)
    qparams = fitted_qparams(aim, codes, qparams, metric)
    rest = codes.double() * qparams.scale.double()
    values = solved_on(weights - rest, large, metric)
    least = qparams.highest * qparams.scale.double()
    signs = torch.where(values < 0, -1.0, 1.0)
    return torch.where(large, signs * torch.maximum(values.abs(), least), rest).float().double()


def _parted(parameter: Parameter, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Codes, scales, and columns and values of the large weights; None of what is no member."""
    import torch

    bits, percent = parameter
    few = _few(percent, weights.shape[2])
    places = weights.abs().topk(few, 2).indices.sort(2).values
    rest = weights.scatter(2, places, 0.0)
    most = rest.abs().amax(2, keepdim=True)
    scale, open_ = torch.ones_like(most), most > 0
    for code in range(1, _highest(bits) + 1):
        tried = most / code
        off = (rest / tried.clamp_min(1e-30) - (rest / tried.clamp_min(1e-30)).round()).abs()
        fits = open_ & (off.amax(2, keepdim=True) < 1e-3)
        scale, open_ = torch.where(fits, tried, scale), open_ & ~fits
    if open_.any():
        return None
    return (rest / scale).round().long(), scale, places, weights.gather(2, places)
