"""Whether a cut network computes what the masked one does, in double precision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from specimens import outputs
from torch import nn

from automl.network.surgery import mask, smaller
from automl.network.traced_model import TracedModel


def scrambled(model: nn.Module) -> nn.Module:
    """The model in eval mode, all vectors that it holds random: none is one or zero by chance."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for each in (*model.parameters(), *model.buffers()):
            if each.dim() == 1 and each.is_floating_point():
                each.copy_(torch.rand(each.shape, generator=generator) + 0.5)
    return model.eval()


def some(traced: TracedModel, seed: int = 0, share: float = 0.5) -> dict[str, torch.Tensor]:
    """Random channels of each group, about so large a share of them."""
    generator = torch.Generator().manual_seed(seed)
    return {
        group.name: torch.randperm(group.channels, generator=generator)[
            : max(1, round(group.channels * share))
        ]
        .sort()
        .values
        for group in traced.network.groups
    }


def gap(
    traced: TracedModel,
    shape: tuple[int, ...],
    kept: Mapping[str, torch.Tensor],
    removed: frozenset[str] = frozenset(),
) -> tuple[float, float]:
    """Largest difference of the cut network from the masked one, and from the dense one."""
    groups = traced.network.groups
    example = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    small = smaller(traced.model, groups, kept, removed).double()
    masked = mask(traced.model, groups, kept, removed).double()
    dense = smaller(traced.model, groups, {}).double()
    found, expected, before = (outputs(each, example) for each in (small, masked, dense))

    def farthest(others: list[torch.Tensor]) -> float:
        pairs = zip(found, others, strict=True)
        return max(float((left - right).abs().max()) for left, right in pairs)

    return farthest(expected), farthest(before)


def share_left(traced: TracedModel, kept: Mapping[str, torch.Tensor]) -> float:
    """Of the dense network's MACs."""
    network = traced.network
    counts = {name: len(index) for name, index in kept.items()}
    left = sum(layer.macs for layer in network.shapes(counts))
    return left / sum(layer.macs for layer in network.layers)
