"""Weights that are powers of two, or zero: a shift in place of a product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import CONVOLUTIONS, DenseForm
from automl.network import Layer
from automl.policy import Bits

if TYPE_CHECKING:
    from torch import Tensor


class PowerOfTwo(DenseForm[int]):
    """Each weight becomes zero or one of the powers of two next to the layer's largest weight.

    With b bits there are 2^(b-2) powers, of either sign, and zero; each weight takes one with the
    errors of those before it compensated.

    Source: Zhou et al. 2017 (INQ), the grid; the same weights are those of Elhoushi et al. 2019
    (DeepShift). Differs: nothing is trained, no weights are frozen in turns, and of two largest
    powers the one of smaller error in the metric of the inputs is taken.
    """

    name = "pow2"
    ops = (*CONVOLUTIONS, "linear")

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        """Every layer takes it."""
        return "" if layer.op in self.ops else f"it is a {layer.op}"

    def parameters(self, layer: Layer) -> Sequence[int]:
        """3 to 5 bits."""
        return (3, 4, 5)

    def bytes(self, parameter: int, layer: Layer, bits: Bits) -> Any:
        """An index a weight, and the values; a file in which many are zero takes fewer."""
        import numpy as np

        pairs = layer.in_channels * layer.out_channels // layer.groups
        weights = pairs * layer.kernel[0] * layer.kernel[1]
        codes = np.ceil(np.asarray(weights) * parameter / 8)
        return codes + 4 * np.minimum(1 << parameter, weights)

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """The kernel itself."""
        import torch

        from automl.compression.forms.clustering import assigned

        weights = kernel.flatten(2)
        largest = float(weights.abs().max())
        if not largest:
            return (kernel,)
        if metric is None:
            metric = torch.eye(weights.shape[2], dtype=weights.dtype).expand(len(weights), -1, -1)
        whole = torch.ones_like(weights, dtype=torch.bool)
        top = torch.tensor(largest * 4 / 3).log2().floor()
        found = []
        for highest in (top, top - 1):
            powers = 2.0 ** (highest.double() - torch.arange(1 << (parameter - 2)))
            grid = torch.cat([-powers, torch.zeros(1), powers.flip(0)])
            found.append(grid[assigned(weights, whole, metric, grid)])
        errors = [float((((each - weights) @ metric) * (each - weights)).sum()) for each in found]
        return (found[errors.index(min(errors))].view_as(kernel),)

    def write(self, parameter: int) -> str:
        """Its bits."""
        return str(parameter)

    def read(self, text: str) -> int:
        """Its bits, 2 to 8."""
        if not (len(text) == 1 and text in "2345678"):
            raise ValueError(f"{text!r} is no number of bits from 2 to 8")
        return int(text)
