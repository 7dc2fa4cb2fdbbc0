"""What runs on values laid out in heads, priced so that it shrinks with them.

A value [batch, heads, places, width] counts as so many places of heads x width channels; what is
scaled along the last dimension alone (a softmax) as so many groups as there are heads. A norm of
each head counts as if all heads were there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import torch

from automl.network.heads import Heads
from automl.network.labels import varies
from automl.network.layers import CONVOLUTIONS, Layer
from automl.network.recorded import Call, Trace
from automl.network.union_find import core

Tensor = torch.Tensor
#: What has channels and places of its own, whatever its values were laid out in before.
_OF_MAPS: Final = (
    *CONVOLUTIONS,
    *("linear", "max_pool", "avg_pool", "global_avg_pool", "resize"),
)
_NONE = torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class LayerLines:
    """Labels that the widths of a layer are read from, and how heads lie in what it reads.

    Attributes:
        inputs, outputs: Along its channels; empty where no channel decides them.
        heads: Along its groups, where it is a product or a softmax of each head.
        dim: The dimension that the heads are laid along, of an operator on a value in heads.
        turned: Whether it is a product whose first operand gives its output's channels.
    """

    inputs: Tensor
    outputs: Tensor
    heads: Tensor | None = None
    dim: int | None = None
    turned: bool = False

    def shape(self, call: Call, layer: Layer) -> Layer:
        """The layer of the same operation, at this or another resolution, as its widths count."""
        if self.turned:
            places = (layer.out_channels, 1)
            return replace(layer, out_channels=layer.in_size[0], in_size=places, out_size=places)
        if self.dim is None:
            return layer
        shape = call.in_shapes[0]
        heads, last = shape[self.dim], shape[-1]
        places = (max(1, math.prod(shape) // (heads * last)), 1)
        sized = replace(layer, in_size=places, out_size=places)
        if layer.op == "softmax":
            return replace(sized, in_channels=last, out_channels=last, groups=heads)
        return replace(sized, in_channels=heads * last, out_channels=heads * last)


def lines_of(call: Call, layer: Layer, trace: Trace) -> LayerLines:
    """The labels of a layer's widths.

    Args:
        call: The operation.
        layer: One of the layers that it is priced as.
        trace: The settled pass.
    """
    if call.step.address in trace.products:
        return _product(call, layer, trace)
    if any(call.step.address == each.address for each in trace.maxima):
        return LayerLines(call.in_labels, call.out_labels)  # it writes a number for each unit
    labels = None if layer.op in _OF_MAPS else trace.layouts.get(call.step.address)
    found = None if labels is None else _elementwise(layer, labels, trace.heads)
    return found or LayerLines(call.in_labels, call.out_labels)


def _elementwise(layer: Layer, labels: Tensor, heads: Heads) -> LayerLines | None:
    """An operator on one value [..., heads, ..., width]; None where it is in no heads."""
    dims = [dim for dim in range(labels.dim() - 1) if varies(labels, dim)]
    rows = heads.slices(labels, dims[0]) if len(dims) == 1 else None
    if rows is None or not heads.has(rows):
        return None
    if layer.op == "softmax":
        return LayerLines(_NONE, _NONE, rows, dims[0])
    if layer.op == "norm":  # of each head, with weights that all of them share
        places = heads.slices(labels, labels.dim() - 1)
        return None if places is None else LayerLines(places, places)
    whole = varies(labels, labels.dim() - 1)
    line = core(labels).flatten() if whole else rows.repeat_interleave(labels.size(-1))
    return LayerLines(line, line, None, dims[0])


def _product(call: Call, layer: Layer, trace: Trace) -> LayerLines:
    products = trace.products[call.step.address]
    if layer.op == "softmax":
        return LayerLines(_NONE, _NONE, products[0].heads)
    lines = products[-1 if layer.name.endswith(".av") else 0]
    outer = lines.outer if lines.places is None else lines.places
    inner, outer = (_NONE if line is None else line for line in (lines.inner, outer))
    return LayerLines(inner, outer, lines.heads, turned=lines.places is not None)
