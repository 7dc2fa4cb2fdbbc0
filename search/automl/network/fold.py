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


class FoldedNorm(nn.Identity):
    """Stands where a batch norm was, and hands on what it reads.

    Args:
        eps, momentum: Of the batch norm.
        weight_norm: Mean Euclidean norm of the weights of an output channel of the layer before it,
            before the batch norm was folded into it.
    """

    def __init__(self, eps: float, momentum: float | None, weight_norm: float) -> None:
        super().__init__()
        self.eps, self.momentum, self.weight_norm = eps, momentum, weight_norm


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
        ones = torch.ones_like(held.running_mean)
        scales[layer] = ones if held.weight is None else held.weight.detach().clone()
        fold_norm(model, layer, norm)
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


def fold_norm(model: nn.Module, layer: str, norm: str) -> None:
    """Fold one batch norm into the layer before it, in place; a `FoldedNorm` stands there then.

    Args:
        model: The network.
        layer: Name of the convolution or linear layer, which has no gradients.
        norm: Name of the batch norm that alone reads it.
    """
    before: Any = model.get_submodule(layer)
    held: Any = model.get_submodule(norm)
    size = float(output_norms(before).mean())
    with torch.no_grad():
        scale = (held.running_var.double() + held.eps).rsqrt()
        if held.weight is not None:
            scale = scale * held.weight.double()
        shift = -held.running_mean.double() * scale
        if held.bias is not None:
            shift = shift + held.bias.double()
        if before.bias is not None:
            shift = shift + before.bias.double() * scale
    scale_outputs(before, scale)
    before.bias = nn.Parameter(shift.to(before.weight.dtype), requires_grad=False)
    parent, _, leaf = norm.rpartition(".")
    setattr(model.get_submodule(parent), leaf, FoldedNorm(held.eps, held.momentum, size))


def output_norms(layer: Any) -> Tensor:
    """Euclidean norm of the weights that each output channel is computed by, float64 [channels]."""
    lengths: Tensor = torch.linalg.vector_norm(_by_output(layer).flatten(1), dim=1)
    return lengths


def scale_outputs(layer: Any, factors: Tensor) -> None:
    """Multiply the weights of each output channel, in place; the bias stays.

    Args:
        layer: A convolution, transposed or not, or a linear layer.
        factors: One a channel, [channels].
    """
    weight, kind = _by_output(layer), layer.weight.dtype
    weight = weight * factors.double().view(-1, *[1] * (weight.dim() - 1))
    if base_kind(layer) == "conv_transpose":
        weight = torch.cat([part.transpose(0, 1) for part in weight.chunk(layer.groups)])
    with torch.no_grad():
        layer.weight = nn.Parameter(weight.to(kind).contiguous(), requires_grad=False)


def _by_output(layer: Any) -> Tensor:
    """Weights with the output channels first, float64 [channels, ...]."""
    weight: Tensor = layer.weight.detach().double()
    if base_kind(layer) != "conv_transpose":
        return weight
    return torch.cat([part.transpose(0, 1) for part in weight.chunk(layer.groups)])
