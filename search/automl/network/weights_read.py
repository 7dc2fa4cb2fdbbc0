"""Which of a model's parameters an operation reads, as they are or as something made of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from automl.network.forward_tracer import LeafCall, base_kind

Tensor = torch.Tensor


class WeightsRead:
    """Follows parameters through the operations of a pass that no input goes into.

    Attributes:
        asides: Parameters that such operations read -> the modules around the first of these,
            outermost first.
    """

    def __init__(self, model: nn.Module) -> None:
        self.asides: dict[str, tuple[str, ...]] = {}
        self._made_of: dict[int, tuple[str, ...]] = {
            id(each): (name,) for name, each in model.named_parameters()
        }
        self._alive: list[Tensor] = []  # an id is only unique while its tensor lives

    def of(self, layer: nn.Module | None, read: list[Tensor]) -> tuple[str, ...]:
        """Parameters that an operation on these tensors reads; a layer reads its own."""
        tensors = read if layer is None else list(layer.parameters(recurse=False))
        found = (name for tensor in tensors for name in self._made_of.get(id(tensor), ()))
        return tuple(dict.fromkeys(found))

    def keep(self, step: LeafCall, weights: tuple[str, ...], output: Any) -> None:
        """What is made of parameters alone is still theirs."""
        for name in weights:
            self.asides.setdefault(name, step.scope)
        for tensor in tree_leaves(output) if weights else []:
            if isinstance(tensor, Tensor):
                self._alive.append(tensor)
                self._made_of.setdefault(id(tensor), weights)


def tied_layers(model: nn.Module) -> dict[str, str]:
    """Layers whose weight another layer holds too -> the first that holds it."""
    held: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None and base_kind(module):
            held.setdefault(id(weight), []).append(name)
    several = [names for names in held.values() if len(names) > 1]
    return {name: names[0] for names in several for name in names}
