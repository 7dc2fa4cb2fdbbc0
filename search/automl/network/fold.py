"""Folding batch norms into the layers before them, as every runtime does when it loads a model."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from automl.errors import ModelError, Raised, attempt
from automl.network.attention import split_attentions
from automl.network.forward_tracer import base_kind, leaf_kind
from automl.network.parametrized import computed
from automl.network.plain_layers import make_plain
from automl.network.recorded import Trace
from automl.network.rerouted import reroute
from automl.network.trace import record

Tensor = torch.Tensor
_WEIGHTED = ("conv", "conv_transpose", "linear")


def copied(model: nn.Module) -> nn.Module:
    """A copy in eval mode, without gradients.

    Raises:
        ModelError: The model holds something that cannot be copied.
    """
    memo = {id(each): each.detach().clone() for each in computed(model)}
    found = attempt(lambda: copy.deepcopy(model, memo))
    if isinstance(found, Raised):
        raise ModelError(f"the model cannot be copied: {found.error}") from found.error
    result = found.eval()
    for parameter in result.parameters():
        parameter.requires_grad_(False)
    return result


def fold(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Fold batch norms where a convolution or linear layer precedes, in place.

    Layers of classes with a forward of their own are made plain before (`make_plain`). Batch norms
    that cannot be folded (no such layer before them, or its output is used elsewhere too) stay. The
    output is unchanged up to rounding.

    Args:
        model: In eval mode, without gradients.
        inputs: An input.

    Returns:
        Per layer that a batch norm was folded into, what the norm multiplied each channel by after
        it had normalised it: its weight, [channels].
    """
    scales: dict[str, Tensor] = {}
    split_attentions(model)
    reroute(model, inputs)
    make_plain(model, inputs)
    trace = record(model, inputs, labelled=False)
    for layer, norm in foldable(trace):
        held: Any = model.get_submodule(norm)
        if not leaf_kind(held) or held.running_mean is None:
            continue  # its class does more than normalise, or each input has statistics of its own
        _fold(model.get_submodule(layer), held)
        ones = torch.ones_like(held.running_mean)
        scales[layer] = ones if held.weight is None else held.weight.detach().clone()
        parent, _, leaf = norm.rpartition(".")
        setattr(model.get_submodule(parent), leaf, nn.Identity())
    for call in trace.calls:
        if call.step.module and call.step.op in _WEIGHTED:
            _give_bias(model.get_submodule(call.step.module))
    return scales


def foldable(trace: Trace) -> list[tuple[str, str]]:
    """Pairs of (layer, batch norm that alone reads its output), each used once."""
    users, producers = trace.users(), trace.producers()
    once: dict[str, int] = {}
    for call in trace.calls:
        once[call.step.module] = once.get(call.step.module, 0) + 1
    pairs = []
    for call in trace.calls:
        if call.step.op != "batch_norm" or not call.inputs:
            continue
        before = producers.get(call.inputs[0])
        if before is None or before.step.op not in _WEIGHTED:
            continue
        alone = len(users[call.inputs[0]]) == 1 and call.inputs[0] not in trace.output
        if alone and once[before.step.module] == once[call.step.module] == 1:
            pairs.append((before.step.module, call.step.module))
    return pairs


def _give_bias(layer: Any) -> None:
    """A bias of zeros where there is none: what a refit needs, and free on every runtime."""
    if layer.bias is None:
        channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        zeros = torch.zeros(channels, dtype=layer.weight.dtype)
        layer.bias = nn.Parameter(zeros, requires_grad=False)


def _fold(layer: Any, norm: Any) -> None:
    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        shift = -norm.running_mean.double() * scale
        if norm.bias is not None:
            shift = shift + norm.bias.double()
        if layer.bias is not None:
            shift = shift + layer.bias.double() * scale
        weight = layer.weight.double()
        if base_kind(layer) == "conv_transpose":
            runs = layer.groups
            shape = (1, weight.shape[1], *[1] * (weight.dim() - 2))
            parts = zip(weight.chunk(runs), scale.chunk(runs), strict=True)
            weight = torch.cat([part * factor.view(shape) for part, factor in parts])
        else:
            weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
        kind = layer.weight.dtype
        layer.weight = nn.Parameter(weight.to(kind), requires_grad=False)
        layer.bias = nn.Parameter(shift.to(kind), requires_grad=False)
