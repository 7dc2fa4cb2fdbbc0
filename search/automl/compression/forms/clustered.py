"""Few weights that are not zero, of few values: what Deep Compression stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from automl.compression.forms.base import CONVOLUTIONS, DenseForm
from automl.network import Layer
from automl.policy import Bits

if TYPE_CHECKING:
    from torch import Tensor

#: Percent of the weights that stay, and bits of an index.
Parameter = tuple[int, int]
#: Steps in which weights go; after each those that stay are solved again.
_STEPS: Final = 3


class Clustered(DenseForm[Parameter]):
    """A share of the weights stays, and these share a few values.

    The weights that cost least go, those that stay are solved again for what the layer reads, in
    three steps; k-means gives the shared values, each weight takes one of them with the errors of
    those before it compensated, and the values are fitted once more to who has which.

    Source: Han et al. 2016 (Deep Compression), sections 2 and 3: prune, then k-means. Differs:
    nothing is trained; saliency and correction are those of Hassibi and Stork 1993 (Optimal Brain
    Surgeon) in the metric of the inputs, the values are fitted in it too. Zeros are not among the
    shared values.
    """

    name = "clustered"
    ops = (*CONVOLUTIONS, "linear")

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """Layers with several weights an output take it."""
        if layer.op not in self.ops:
            return f"it is a {layer.op}"
        return "" if _columns(layer) > 1 else "it has one weight an output"

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """A fifth to three fifths of the weights, in 16 values."""
        return [(20, 4), (40, 4), (60, 4)]

    def bytes(self, parameter: Parameter, layer: Layer, bits: Bits) -> Any:
        """A bit a weight, the indices and the values; an entropy-coded file takes less."""
        import numpy as np

        percent, index = parameter
        weights = layer.out_channels * _columns(layer)
        kept = _kept(percent, weights)
        codes = np.ceil(np.asarray(kept) * index / 8)
        return np.ceil(np.asarray(weights) / 8) + codes + 4 * np.minimum(1 << index, kept)

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """The kernel itself."""
        import torch

        percent, bits = parameter
        weights = kernel.flatten(2)
        if metric is None:  # the form is there already, or nothing is known of what is read
            metric = torch.eye(weights.shape[2], dtype=weights.dtype).expand(len(weights), -1, -1)
            kept = _kept(percent, weights.numel())
            few = len(weights[weights != 0].float().unique()) <= 1 << bits
            if few and int((weights != 0).sum()) <= kept:
                return (kernel,)
        from automl.compression.forms.clustering import clustered, pruned

        found, mask = pruned(weights, metric, _kept(percent, weights.numel()), _STEPS)
        return (clustered(found, weights, mask, metric, 1 << bits).view_as(kernel),)

    def write(self, parameter: Parameter) -> str:
        """As "40-4"."""
        return "-".join(map(str, parameter))

    def read(self, text: str) -> Parameter:
        """As "40-4": percent that stay, 1 to 99, and bits of an index, 1 to 8."""
        percent, dash, bits = text.partition("-")
        if not (dash and text.isascii() and percent.isdigit() and bits.isdigit() and len(text) < 6):
            raise ValueError(f"{text!r} is no share and bits: write 40-4")
        found = int(percent), int(bits)
        if not (0 < found[0] < 100 and 0 < found[1] < 9):
            raise ValueError(f"{text!r} is no share of 1 to 99 percent with 1 to 8 bits")
        return found


def _columns(layer: Layer) -> Any:
    return layer.in_channels // layer.groups * layer.kernel[0] * layer.kernel[1]


def _kept(percent: int, weights: Any) -> Any:
    """How many weights stay, at least one; of arrays, of each."""
    return (weights * percent + 99) // 100
