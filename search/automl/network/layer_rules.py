"""How labels go through layers: what a layer reads and writes is bound to its sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from automl.network.forward_tracer import LeafCall
from automl.network.heads import Heads
from automl.network.labels import POSITIONS, compact, vector
from automl.network.norms import NORMS, norm_line

Tensor = torch.Tensor


class LayerRules:
    """Labels through layers.

    Args:
        heads: Which channels are laid out in heads, with the labels.
        bindings: Labels of each layer's sides, which are added: (module, side) -> labels.
        tied: Layers whose weight another layer holds too -> the first of those that hold it.
    """

    def __init__(
        self, heads: Heads, bindings: dict[tuple[str, str], Tensor], tied: Mapping[str, str]
    ) -> None:
        self._heads, self._union = heads, heads.union
        self._bindings, self._tied = bindings, tied

    def apply(self, step: LeafCall, module: nn.Module, labels: Tensor, output: Tensor) -> Tensor:
        """Labels of a layer's output, from those of what it reads and what it gave."""
        dim = -1 if step.op == "linear" else 1
        if step.op in NORMS:
            normed = norm_line(self._heads, module, labels)
            if normed is not None:
                self._bind(step.module, "through", normed)
            return labels
        line = vector(labels, dim)
        if line is None:
            self._union.freeze(labels, POSITIONS)
            line = torch.zeros(labels.shape[dim], dtype=torch.int64)
        if step.op in ("batch_norm", "prelu"):
            shared = step.op == "prelu" and module.num_parameters == 1
            if not shared:
                self._bind(step.module, "through", line)
            return labels
        out = compact(self._convolve(step, module, line, output.shape[dim]))
        shape = [1] * output.dim()
        shape[dim] = -1
        return out.view(shape).expand(output.shape)

    def _convolve(self, step: LeafCall, module: Any, line: Tensor, out_channels: int) -> Tensor:
        groups = getattr(module, "groups", 1)
        if groups > 1 and groups == line.numel():
            self._bind(step.module, "through", line)
            return line.repeat_interleave(out_channels // groups)
        out = self._union.fresh(out_channels)
        if groups > 1:  # each run loses the same channels, so that the groups stay equal
            for side in (line.view(groups, -1), out.view(groups, -1)):
                for run in side[1:]:
                    self._union.join(side[0], run, "its channels are grouped with fixed ones")
        self._bind(step.module, "in", line)
        self._bind(step.module, "out", out)
        return out

    def _bind(self, module: str, side: str, line: Tensor) -> None:
        first = (self._tied.get(module, module), side)
        for known in (self._bindings.get((module, side)), self._bindings.get(first)):
            if known is not None and known.numel() == line.numel():
                why = "its layer is used twice, once on fixed channels"
                self._union.join(known, line, why)
        self._bindings.setdefault((module, side), line)
        self._bindings.setdefault(first, line)
