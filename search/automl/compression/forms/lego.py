"""Filters put together from few small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import StoredPart
from automl.compression.forms.shared import SharedForm, index_bits, up
from automl.network import Layer

if TYPE_CHECKING:
    from torch import Tensor

#: Parts that the input channels are in.
_PARTS = 2


class Lego(SharedForm):
    """Each filter's two halves of the input channels are multiples of shared small filters.

    The parameter is how many outputs there are for each small filter. Which of them a half is, and
    by how much, is k-means up to scale; the multiples are then solved for in the full metric.

    Source: Yang et al. 2019 (LegoNet). Differs: in closed form in the metric of the inputs'
    moments; it runs as the dense layer.
    """

    name = "lego"

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        """A layer takes it whose input channels can be halved."""
        if layer.in_channels % _PARTS:
            return f"its {layer.in_channels} input channels are no halves"
        return super().refusal(parameter, layer)

    def numbers(self, parameter: int, layer: Layer) -> tuple[Any, Any]:
        """The small filters, a multiple for each half of a filter, and which it is."""
        small = up(layer.out_channels, parameter)
        read = up(layer.in_channels, _PARTS)
        halves = layer.out_channels * _PARTS
        numbers = small * read * layer.kernel[0] * layer.kernel[1] + halves
        return numbers, up(halves * index_bits(small), 8)

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """The member: [1, outputs, inputs, height, width]."""
        import torch

        from automl.compression.forms.sharing import lines

        _, outputs, inputs, *window = kernel.shape
        if inputs % _PARTS:  # where channels were cut, the last half has one that is always 0
            return (self._odd(parameter, kernel, metric),)
        halves = kernel.view(outputs * _PARTS, -1)
        length = halves.shape[1]
        mean = None
        if metric is not None:
            blocks = metric[0].view(_PARTS, length, _PARTS, length)
            mean = torch.stack([blocks[part, :, part] for part in range(_PARTS)]).mean(0)
        drawn, which, scale = lines(halves, mean, up(outputs, parameter))
        basis = drawn[which].view(outputs, _PARTS, length)
        if metric is not None:
            wide = torch.zeros(outputs, _PARTS, inputs * window[0] * window[1]).to(kernel)
            for part in range(_PARTS):
                wide[:, part, part * length : (part + 1) * length] = basis[:, part]
            measured = wide @ metric[0]
            grams = measured @ wide.transpose(1, 2)
            grams = grams + torch.diag_embed((grams.diagonal(dim1=1, dim2=2) == 0.0).to(grams))
            wanted = (measured @ kernel.view(outputs, -1, 1)).squeeze(2)
            scale = torch.linalg.solve(grams, wanted.unsqueeze(2)).flatten()
        return ((basis * scale.view(outputs, _PARTS, 1)).view(kernel.shape),)

    def _odd(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> Tensor:
        from torch.nn.functional import pad

        wide = pad(kernel, (0, 0, 0, 0, 0, 1))
        taps = kernel[0, 0, 0].numel()
        if metric is not None:
            metric = pad(metric, (0, taps, 0, taps))
        return self.factors(parameter, wide, metric)[0][:, :, :-1]

    def pack(self, parameter: int, kernel: Tensor) -> tuple[StoredPart, ...]:
        """The small filters, the multiples, and which each half is."""
        from torch.nn.functional import pad

        from automl.compression.forms.sharing import lines

        small = up(kernel.shape[1], parameter)
        wide = pad(kernel, (0, 0, 0, 0, 0, kernel.shape[2] % _PARTS))
        drawn, which, scale = lines(wide.view(kernel.shape[1] * _PARTS, -1), None, small)
        return StoredPart(drawn.flatten()), StoredPart(scale), StoredPart(which, index_bits(small))

    def unpack(self, parameter: int, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        drawn, scale, which = parts
        filters = drawn.view(up(shape[1], parameter), -1)[which] * scale[:, None]
        whole: Tensor = filters.view(1, shape[1], -1, *shape[3:])[:, :, : shape[2]]
        return whole
