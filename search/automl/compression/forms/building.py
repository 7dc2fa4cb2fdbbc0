"""Forms of a module: its weights brought to the set, and the modules that run in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from automl.compression.forms.algebra import damped
from automl.compression.forms.arrangement import Serial, places, wired
from automl.compression.forms.base import GATHER, Form
from automl.compression.forms.modules import Picked
from automl.compression.forms.noting import noted
from automl.compression.layer_matrix import matrix
from automl.compression.quantization.qparams import centred
from automl.network import WEIGHTED, Layer

Tensor = torch.Tensor


def layer_of(module: nn.Module) -> Layer | None:
    """A module's own geometry, its maps left out; None where forms do not know the kind of module.

    Along one dimension convolutions are those of two on maps of width 1.
    """
    if isinstance(module, nn.Linear):
        return Layer("", "linear", module.in_features, module.out_features)
    if not isinstance(module, nn.Conv1d | nn.Conv2d):
        return None
    groups, read = module.groups, module.in_channels
    return Layer(
        "",
        "depthwise_conv2d" if groups == read > 1 else "conv2d",
        read,
        module.out_channels,
        _flat(module.kernel_size, 1),
        _flat(module.stride, 1),
        _padding(module),
        _flat(module.dilation, 1),
        groups,
    )


def fitted(form: Form[Any], parameter: Any, module: nn.Module, moments: Tensor | None) -> Tensor:
    """The member of a set that is nearest to a layer's weights: [runs, outputs, columns].

    Args:
        form: The form.
        parameter: Which set.
        module: A layer that can take it.
        moments: Mean second moments of what it reads, with a column of ones for the bias:
            [runs, columns + 1, columns + 1]. About the mean where the layer has a bias, which
            takes out what is constant. None for the metric of the weights.
    """
    kernel = kernel_of(module)
    metric = None
    if moments is not None:
        about = moments if _bias(module) is not None else moments[:, :-1, :-1]
        metric = damped(centred(about, kernel[0, 0].numel()))
    factors = form.factors(parameter, kernel, metric)
    whole = form.compose(parameter, factors, tuple(kernel.shape[3:]))
    return whole.flatten(2).to(matrix(module).dtype)


def built(form: Form[Any], parameter: Any, module: nn.Module) -> nn.Module:
    """What runs in the place of a layer whose weights are in the set: the operators of its price.

    The last that has weights has the bias.
    """
    operators = _operators(form, parameter, module)
    factors = form.factors(parameter, kernel_of(module), None)
    arrangement = form.arrangement(parameter, len(factors))
    *_, last = (each for each in places(arrangement) if operators[each].op != GATHER)
    bias = _bias(module)
    if bias is not None and isinstance(arrangement, Serial):
        for place in range(len(factors) - 1, last, -1):  # before its channels are reordered
            bias = bias[factors[place].argsort()]
    parts = [
        _picked(module, factor)
        if each.op == GATHER
        else _made(module, each, factor, bias if place == last else None)
        for place, (each, factor) in enumerate(zip(operators, factors, strict=True))
    ]
    return noted(form, parameter, wired(arrangement, parts))


def outline(form: Form[Any], parameter: Any, module: nn.Module) -> nn.Module:
    """As `built`, with other numbers: nothing is fitted."""
    operators = _operators(form, parameter, module)
    arrangement = form.arrangement(parameter, len(operators))
    *_, last = (each for each in places(arrangement) if operators[each].op != GATHER)
    bias = _bias(module)
    parts = [
        _picked(module, torch.zeros(each.out_channels, dtype=torch.int64))
        if each.op == GATHER
        else _layer(module, each, bias=place == last and bias is not None)
        for place, each in enumerate(operators)
    ]
    return noted(form, parameter, wired(arrangement, parts))


def _operators(form: Form[Any], parameter: Any, module: nn.Module) -> list[Layer]:
    """Of those that a layer runs as, the ones that have a factor."""
    layer = layer_of(module)
    assert layer is not None
    return [each for each in form.lower(parameter, layer) if each.op in (*WEIGHTED, GATHER)]


def _picked(module: nn.Module, index: Tensor) -> nn.Module:
    """Channels in another order."""
    return Picked(index, -1 if isinstance(module, nn.Linear) else 1)


def _made(module: Any, operator: Layer, factor: Tensor, bias: Tensor | None) -> nn.Module:
    """One operator as a module with its numbers."""
    made: Any = _layer(module, operator, bias=bias is not None)
    with torch.no_grad():
        made.weight.copy_(factor.flatten(0, 1).reshape(made.weight.shape))
        if bias is not None:
            made.bias.copy_(bias)
    like: nn.Module = made
    return like


def _layer(module: Any, operator: Layer, *, bias: bool) -> nn.Module:
    """One operator as a module, of the kind of the layer."""
    read, written = operator.in_channels, operator.out_channels
    made: Any
    if isinstance(module, nn.Linear):
        made = nn.Linear(read, written, bias=bias)
    else:
        dims = len(module.kernel_size)
        convolution: Any = nn.Conv1d if dims == 1 else nn.Conv2d
        made = convolution(
            read,
            written,
            operator.kernel[:dims],
            operator.stride[:dims],
            module.padding if isinstance(module.padding, str) else operator.padding[:dims],
            operator.dilation[:dims],
            operator.groups,
            bias=bias,
            padding_mode=module.padding_mode,
        )
    like: nn.Module = made.to(module.weight.dtype)
    return like.requires_grad_(module.weight.requires_grad)


def kernel_of(module: Any) -> Tensor:
    """A layer's kernel: [runs, outputs, inputs, height, width], float64."""
    values = matrix(module).double()
    window = _flat(getattr(module, "kernel_size", (1, 1)), 1)
    kernel: Tensor = values.unflatten(2, (-1, *window))
    return kernel


def _bias(module: Any) -> Tensor | None:
    bias: Tensor | None = module.bias
    return None if bias is None else bias.detach()


def _flat(extent: Sequence[int], beside: int) -> tuple[int, int]:
    return extent[0], extent[1] if len(extent) > 1 else beside


def _padding(module: Any) -> tuple[int, int]:
    """Before the first tap, along each axis."""
    if not isinstance(module.padding, str):
        return _flat(module.padding, 0)
    reach = zip(module.dilation, module.kernel_size, strict=True)
    pads = [apart * (taps - 1) // 2 for apart, taps in reach]
    return _flat([0] * len(pads) if module.padding == "valid" else pads, 0)
