"""Weights that are gone and stay gone: single ones, rows of a kernel's taps, whole kernels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from automl.compression.forms.base import CONVOLUTIONS, DenseForm, StoredPart, least
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor

#: Percent of the units that stay, what chooses them, and what a unit is where a form has several.
Parameter = tuple[int, str, str]
#: Percentages that are tried, from what changes a layer most.
_PERCENT: Final = (25, 50, 75)
#: What chooses where nothing is said: see `automl.compression.forms.masking`.
_USUAL: Final = "obs"


class _Mask(DenseForm[Parameter]):
    """A share of the units of a layer's weights stays.

    A packed file has a bit for each unit and the weights that stay.

    Attributes:
        patterns: What units there are, the usual first; one that is "" where there is no choice.
    """

    ops: ClassVar[tuple[str, ...]] = (*CONVOLUTIONS, "linear")
    takes_bits = True
    patterns: ClassVar[tuple[str, ...]] = ("",)

    @abstractmethod
    def unit(self, pattern: str, window: tuple[int, ...]) -> tuple[int, tuple[int, int, int]]:
        """Neighbouring columns of a unit, and the order of (input, height, width) in which so."""

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """Shares of what there is, with each pattern that a layer has, chosen with data."""
        return [
            (percent, _USUAL, pattern)
            for percent in _PERCENT
            for pattern in self.patterns
            if not self.refusal((percent, _USUAL, pattern), layer)
        ]

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The member: [runs, outputs, inputs, height, width]."""
        from automl.compression.forms.masking import masked, share

        percent, saliency, pattern = parameter
        unit, order = self.unit(pattern, tuple(kernel.shape[3:]))
        turned = kernel.permute(0, 1, *(2 + axis for axis in order))
        weights, measured = turned.flatten(2), ordered(metric, kernel, order)
        columns = weights.shape[2]
        kept = _kept(percent, weights.numel() // unit)
        chosen = share(unit, columns, kept, saliency if measured is not None else "")
        found = masked(weights, measured, chosen, saliency).view(turned.shape)
        return (found.permute(0, 1, *(2 + order.index(axis) for axis in range(3))),)

    def bytes(self, parameter: Parameter, layer: Layer, bits: Bits) -> Any:
        """A bit a unit, and the weights that stay; those of a rounded layer are all there."""
        if bits.weights < FLOAT_BITS:
            return operators_bytes([layer], bits)
        percent, _, pattern = parameter
        unit, _ = self.unit(pattern, layer.kernel)
        pairs = layer.in_channels * layer.out_channels // layer.groups
        units = pairs * layer.kernel[0] * layer.kernel[1] // unit
        kept = _kept(percent, units)
        return (units + 7) // 8 + kept * unit * (bits.weights / 8)

    def pack(self, parameter: Parameter, kernel: Tensor) -> tuple[StoredPart, ...]:
        """Which units stay, and their weights."""
        percent, _, pattern = parameter
        unit, order = self.unit(pattern, tuple(kernel.shape[3:]))
        units = kernel.permute(0, 1, *(2 + axis for axis in order)).reshape(-1, unit)
        stays = units.new_zeros(len(units)).long()
        largest = units.square().sum(1).topk(_kept(percent, len(units))).indices
        stays[largest] = 1
        return StoredPart(stays, 1), StoredPart(units[stays.bool()].flatten())

    def unpack(self, parameter: Parameter, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        stays, values = parts
        _, _, pattern = parameter
        unit, order = self.unit(pattern, tuple(shape[3:]))
        units = values.new_zeros(len(stays), unit)
        units[stays.bool()] = values.view(-1, unit)
        turned = units.view(*shape[:2], *(shape[2 + axis] for axis in order))
        return turned.permute(0, 1, *(2 + order.index(axis) for axis in range(3)))

    def write(self, parameter: Parameter) -> str:
        """As "50", or "50-magnitude", "50-columns", "50-columns-magnitude"."""
        percent, saliency, pattern = parameter
        said = [pattern] * (pattern != self.patterns[0]) + [saliency] * (saliency != _USUAL)
        return "-".join((str(percent), *said))

    def read(self, text: str) -> Parameter:
        """As `write` writes it."""
        from automl.compression.forms.masking import SALIENCIES

        first, *words = text.split("-")
        if not (first.isascii() and first.isdigit() and 0 < int(first) < 100 and len(first) < 3):
            raise ValueError(f"{first!r} is no percentage of what stays, from 1 to 99")
        pattern = next((word for word in words if word in self.patterns[1:]), self.patterns[0])
        saliency = next((word for word in words if word in SALIENCIES[1:]), _USUAL)
        found = (int(first), saliency, pattern)
        if self.write(found) != text:
            known = ", ".join((*self.patterns[1:], *SALIENCIES[1:]))
            raise ValueError(f"{text!r} is no share such as 50, with one of each of: {known}")
        return found


class Unstructured(_Mask):
    """Some weights stay, wherever they are.

    Source: LeCun et al. 1989 (Optimal Brain Damage), Hassibi and Stork 1993 (Optimal Brain
    Surgeon), Han et al. 2015 (magnitude). Differs: the Hessian is the layer's own, of its outputs'
    squared error; with `obs` weights go column by column as in SparseGPT (Frantar and Alistarh,
    2023), and those that stay are solved for.
    """

    name = "unstructured"

    def unit(self, pattern: str, window: tuple[int, ...]) -> tuple[int, tuple[int, int, int]]:
        """A weight."""
        return 1, (0, 1, 2)

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """Every layer takes it that has enough weights for a bit each to pay."""
        return "" if _weights(layer) >= _FEWEST else f"it has {_weights(layer)} weights"


class KernelMask(_Mask):
    """Some kernels stay: between one input and one output channel all taps go, or none.

    Source: Anwar et al. 2017 (kernel-level pruning). Differs: as `Unstructured`, kernel by kernel.
    """

    name = "kernel"
    ops = CONVOLUTIONS

    def unit(self, pattern: str, window: tuple[int, ...]) -> tuple[int, tuple[int, int, int]]:
        """All taps of a kernel."""
        return window[0] * window[1], (0, 1, 2)

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that has taps and mixes channels."""
        if layer.op not in CONVOLUTIONS or max(layer.kernel) < 2:
            return "it has no taps"
        if layer.in_channels // layer.groups < 2:
            return "it has one kernel for each output"
        return ""


class RowMask(_Mask):
    """Some rows of taps stay in each kernel, or some columns of them.

    Source: vector-level pruning, Mao et al. 2017 (Exploring the Granularity of Sparsity). Differs:
    as `Unstructured`, row by row.
    """

    name = "row"
    ops = CONVOLUTIONS
    patterns: ClassVar[tuple[str, ...]] = ("rows", "columns")

    def unit(self, pattern: str, window: tuple[int, ...]) -> tuple[int, tuple[int, int, int]]:
        """The taps of a row, or of a column."""
        return (window[1], (0, 1, 2)) if pattern == "rows" else (window[0], (0, 2, 1))

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that has several taps along both axes."""
        if layer.op not in CONVOLUTIONS or min(layer.kernel) < 2:
            return "it has no rows of several taps" if max(layer.kernel) > 1 else "it has no taps"
        return ""


#: With fewer weights than this a layer's biases and the file's header are most of it.
_FEWEST: Final = 16


def ordered(metric: Tensor | None, kernel: Tensor, order: tuple[int, int, int]) -> Tensor | None:
    """A metric whose columns stand in another order of (input, height, width)."""
    if metric is None:
        return None
    sides = kernel.shape[2:]
    whole = metric.view(-1, *sides, *sides)
    turned = whole.permute(0, *(1 + axis for axis in order), *(4 + axis for axis in order))
    return turned.reshape(metric.shape)


def _weights(layer: Layer) -> int:
    pairs = layer.in_channels * layer.out_channels // layer.groups
    return pairs * layer.kernel[0] * layer.kernel[1]


def _kept(percent: int, units: Any) -> Any:
    """How many units stay, one at least; of an array of numbers an array."""
    return -least(-((units * percent + 50) // 100), -1)
