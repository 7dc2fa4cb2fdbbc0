"""Operators of exported programs as the layers that they were, by what they were called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import nn

Tensor = torch.Tensor
#: What an operator was called with, by the names of its schema; tensors that it reads as they are.
Given = Mapping[str, Any]

_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
#: By the dimensions of what they read.
_BATCH_NORMS: Final = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_INSTANCE_NORMS: Final = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
_GEOMETRY: Final = ("stride", "padding", "dilation", "groups", "output_padding")
#: Names under which layers hold what operators call otherwise.
HELD: Final = ("weight", "bias", "running_mean", "running_var")


def layer_of(name: str, given: Given, dims: int) -> nn.Module | None:
    """The layer that an operator's call was, of the same tensors; None where it was none.

    Args:
        name: Of the operator, without overload ("conv2d").
        given: What it was called with.
        dims: Dimensions of what it reads.
    """
    make = _MAKERS.get(name)
    layer = None if make is None else make(given, dims)
    if layer is None:
        return None
    for key in HELD:
        tensor = given.get(key)
        if key in layer._parameters and tensor is not None:
            whole = isinstance(tensor, nn.Parameter)
            layer._parameters[key] = tensor if whole else nn.Parameter(tensor, requires_grad=False)
        elif key in layer._buffers and tensor is not None:
            layer._buffers[key] = tensor
    if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.track_running_stats:
        layer.num_batches_tracked = torch.tensor(0)
    return layer.eval()


def _convolution(given: Given, dims: int) -> nn.Module:
    weight: Tensor = given["weight"]
    transposed = given.get("transposed", "output_padding" in given)
    geometry = {name: given[name] for name in _GEOMETRY if name in given}
    groups = geometry["groups"]
    if transposed:
        read, written = len(weight), weight.shape[1] * groups
    else:
        read, written = weight.shape[1] * groups, len(weight)
        geometry.pop("output_padding", None)
    flat = weight.dim() - 2
    for name, value in geometry.items():
        if isinstance(value, list | tuple):
            geometry[name] = tuple(value) * (flat if len(value) == 1 else 1)
    kinds: Any = _TRANSPOSED if transposed else _CONVOLUTIONS
    bias = given["bias"] is not None
    made: nn.Module = kinds[flat - 1](
        read, written, tuple(weight.shape[2:]), bias=bias, device="meta", **geometry
    )
    return made


def _linear(given: Given, dims: int) -> nn.Module | None:
    weight: Tensor = given["weight"]
    if weight.dim() != 2:
        return None
    written, read = weight.shape
    return nn.Linear(read, written, given["bias"] is not None, device="meta")


def _batch_norm(given: Given, dims: int) -> nn.Module | None:
    tracked = given["running_mean"] is not None
    channels = next((len(given[key]) for key in HELD if given[key] is not None), 0)
    if (
        dims not in _BATCH_NORMS
        or not channels
        or (given["weight"] is None) != (given["bias"] is None)
    ):
        return None
    return _BATCH_NORMS[dims](
        channels,
        given["eps"],
        given["momentum"],
        affine=given["weight"] is not None,
        track_running_stats=tracked,
        device="meta",
    )


def _instance_norm(given: Given, dims: int) -> nn.Module | None:
    if dims not in _INSTANCE_NORMS or given["weight"] is None or given["running_mean"] is not None:
        return None
    kind = _INSTANCE_NORMS[dims]
    return kind(len(given["weight"]), given["eps"], affine=True, device="meta")


def _group_norm(given: Given, dims: int) -> nn.Module | None:
    if given["weight"] is None:
        return None
    groups = given.get("num_groups", given.get("group"))
    return nn.GroupNorm(groups, len(given["weight"]), given["eps"], device="meta")


def _layer_norm(given: Given, dims: int) -> nn.Module | None:
    if given["weight"] is None:
        return None
    shape, bias = list(given["normalized_shape"]), given["bias"] is not None
    return nn.LayerNorm(shape, given["eps"], bias=bias, device="meta")


def _rms_norm(given: Given, dims: int) -> nn.Module | None:
    if given["weight"] is None:
        return None
    return nn.RMSNorm(list(given["normalized_shape"]), given["eps"], device="meta")


def _prelu(given: Given, dims: int) -> nn.Module | None:
    return nn.PReLU(given["weight"].numel(), device="meta")


_MAKERS: Final[dict[str, Callable[[Given, int], nn.Module | None]]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "native_group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "native_layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "prelu": _prelu,
}
#: Operators that give several values, of which the first alone is the layer's.
SEVERAL: Final = ("_native_batch_norm_legit_no_training", "native_group_norm", "native_layer_norm")


def recurrent_of(name: str, given: Given, tensors: list[Tensor]) -> nn.Module | None:
    """The recurrent layer that an operator's call was; None where it was none.

    Args:
        name: Of the operator ("lstm", "gru", "rnn_tanh", "rnn_relu").
        given: What it was called with.
        tensors: Its weights in the operator's order.
    """
    kinds: dict[str, Any] = {
        "lstm": nn.LSTM,
        "gru": nn.GRU,
        "rnn_tanh": nn.RNN,
        "rnn_relu": nn.RNN,
    }
    if name not in kinds:
        return None
    extra: dict[str, Any] = {"nonlinearity": name[4:]} if name.startswith("rnn_") else {}
    each = len(tensors) // (given["num_layers"] * (1 + given["bidirectional"]))
    gates = {"lstm": 4, "gru": 3}.get(name, 1)
    if each == 2 + 2 * given["has_biases"] + 1:
        extra["proj_size"] = len(tensors[each - 1])
    layer: nn.Module = kinds[name](
        tensors[0].shape[1],
        len(tensors[0]) // gates,
        given["num_layers"],
        bias=given["has_biases"],
        batch_first=given["batch_first"],
        bidirectional=given["bidirectional"],
        device="meta",
        **extra,
    )
    names = [held for held, _ in layer.named_parameters()]
    if len(names) != len(tensors):
        return None
    for held, tensor in zip(names, tensors, strict=True):
        setattr(layer, held, nn.Parameter(tensor.detach(), requires_grad=False))
    return layer.eval()
