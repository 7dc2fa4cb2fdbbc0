"""Filters that are the middles of other filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import StoredPart
from automl.compression.forms.shared import SharedForm, index_bits, up
from automl.network import Layer

if TYPE_CHECKING:
    from torch import Tensor


class Versatile(SharedForm):
    """A filter is used again without its outermost taps, as often as the parameter says.

    Outputs whose outer taps hold least become the middles of others; which, is the assignment of
    least squared distance. The taps are those of least error for all outputs that use them.

    Source: Wang et al. 2018 (Learning Versatile Filters), spatial ones. Differs: in closed form in
    the metric of the inputs' moments, and outputs keep their order.
    """

    name = "versatile"
    tried = (3, 2)
    taps = True

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        """A layer takes it that has taps around its taps."""
        if min(layer.kernel) < 3:
            return "it has no taps around others"
        said = super().refusal(parameter, layer)
        most = (min(layer.kernel) + 1) // 2
        if said or parameter is None or 2 <= parameter <= most:
            return said
        return f"a filter is used 2 to {most} times in its {layer.kernel[0]}x{layer.kernel[1]}"

    def numbers(self, parameter: int, layer: Layer) -> tuple[Any, Any]:
        """Filters that are used whole, and which each output uses."""
        whole = up(layer.out_channels, parameter)
        numbers = whole * layer.in_channels * layer.kernel[0] * layer.kernel[1]
        return numbers, up(layer.out_channels * index_bits(whole * parameter), 8)

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """The member: [1, outputs, inputs, height, width]."""
        import torch

        from automl.compression.forms.sharing import nearest_in, tied

        places = self._places(self._uses(parameter, kernel), parameter, kernel.shape)
        count = up(kernel.shape[1], parameter) * kernel[0, 0].numel()
        project = tied(places, torch.ones_like(places), count)
        return (nearest_in(kernel.flatten(2), metric, project).view(kernel.shape),)

    def pack(self, parameter: int, kernel: Tensor) -> tuple[StoredPart, ...]:
        """Whole filters, and which each output uses and how much of it."""
        import torch

        from automl.compression.forms.sharing import shared

        uses, whole = self._uses(parameter, kernel), up(kernel.shape[1], parameter)
        places = self._places(uses, parameter, kernel.shape)
        count = whole * kernel[0, 0].numel()
        numbers = shared(kernel.flatten(2), places, torch.ones_like(places), count)
        return StoredPart(numbers), StoredPart(uses, index_bits(whole * parameter))

    def unpack(self, parameter: int, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        import torch

        from automl.compression.forms.sharing import spread

        numbers, uses = parts
        places = self._places(uses, parameter, shape)
        return spread(numbers, places, torch.ones_like(places)).view(*shape)

    def _uses(self, parameter: int, kernel: Tensor) -> Tensor:
        """Per output: the filter that it uses, times the parameter, and how many rings are off."""
        import torch
        from scipy.optimize import linear_sum_assignment

        flat, outputs = kernel[0].flatten(1), kernel.shape[1]
        whole = up(outputs, parameter)
        rings = torch.zeros(outputs, dtype=torch.int64)
        for ring in range(parameter - 1, 0, -1):
            left = rings == 0
            count = max(0, min(whole, int(left.sum()) - whole))
            outer = flat[:, ~_within(ring, kernel.shape).flatten()].square().sum(1)
            rings[outer.masked_fill(~left, torch.inf).topk(count, largest=False).indices] = ring
        firsts = (rings == 0).nonzero().flatten()
        uses = torch.zeros_like(rings)
        uses[firsts] = torch.arange(len(firsts)) * parameter
        for ring in range(1, parameter):
            others = (rings == ring).nonzero().flatten()
            inner = flat[:, _within(ring, kernel.shape).flatten()]
            apart = torch.cdist(inner[others], inner[firsts]).square()
            which = torch.from_numpy(linear_sum_assignment(apart.numpy())[1])
            uses[others] = which * parameter + ring
        return uses

    def _places(self, uses: Tensor, parameter: int, shape: Sequence[int]) -> Tensor:
        """Index of each weight among the whole filters' numbers, or -1: [1, outputs, columns]."""
        import torch

        columns = shape[2] * shape[3] * shape[4]
        places = (uses // parameter)[:, None] * columns + torch.arange(columns)
        inside = torch.stack([_within(ring, shape).flatten() for ring in range(parameter)])
        return places.masked_fill(~inside[uses % parameter], -1)[None]


def _within(ring: int, shape: Sequence[int]) -> Tensor:
    """Taps that are left without so many rings: [inputs, height, width]."""
    import torch

    inside = torch.zeros(tuple(shape[2:]), dtype=torch.bool)
    inside[:, ring : shape[3] - ring, ring : shape[4] - ring] = True
    return inside
