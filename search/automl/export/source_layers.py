"""Layers and operators as the calls that make them."""

from __future__ import annotations

from typing import Any, Final

from torch import fx, nn

from automl.export.source_operators import literal

#: What each kind of layer is made from, in order, and by name where it is not the default.
_CONVOLUTION: Final = ("in_channels", "out_channels", "kernel_size")
_GEOMETRY: Final = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_NORMS: Final = {"eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
_RECURRENT: Final = {
    "num_layers": 1,
    "batch_first": False,
    "bidirectional": False,
    "proj_size": 0,
}
_LAYERS: Final[dict[type[nn.Module], tuple[tuple[str, ...], dict[str, Any]]]] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), (_CONVOLUTION, _GEOMETRY)),
    **dict.fromkeys(
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        (_CONVOLUTION, {**_GEOMETRY, "output_padding": 0}),
    ),
    nn.Linear: (("in_features", "out_features"), {}),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), (("num_features",), _NORMS)),
    **dict.fromkeys(
        (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
        (("num_features",), {**_NORMS, "affine": False, "track_running_stats": False}),
    ),
    nn.GroupNorm: (("num_groups", "num_channels"), {"eps": 1e-5}),
    nn.LayerNorm: (("normalized_shape",), {"eps": 1e-5}),
    nn.RMSNorm: (("normalized_shape",), {"eps": None}),
    nn.PReLU: (("num_parameters",), {}),
    nn.LSTM: (("input_size", "hidden_size"), _RECURRENT),
    nn.GRU: (("input_size", "hidden_size"), _RECURRENT),
    nn.RNN: (("input_size", "hidden_size"), {"nonlinearity": "tanh", **_RECURRENT}),
}
#: Operators without weights as modules, with what these are made from beside the operator's own.
_MODULES: Final = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "silu": "SiLU",
    "gelu": "GELU",
    "mish": "Mish",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "max_pool2d": "MaxPool2d",
    "avg_pool2d": "AvgPool2d",
    "adaptive_avg_pool2d": "AdaptiveAvgPool2d",
}


def made_by(layer: nn.Module) -> str | None:
    """The call that makes a layer of torch's own; None of other modules."""
    known = _LAYERS.get(type(layer))
    if known is None:
        return None
    places, names = known
    given = [_short(getattr(layer, each), pairs=each != "normalized_shape") for each in places]
    for name, default in names.items():
        value = getattr(layer, name)
        if _short(value) != _short(default):
            given.append(f"{name}={_short(value)}")
    if "bias" in layer._parameters and layer._parameters["bias"] is None and _has_bias(layer):
        given.append("bias=False")
    if getattr(layer, "bias", None) is False:  # recurrent layers keep whether they have one
        given.append("bias=False")
    return f"nn.{type(layer).__name__}({', '.join(given)})"


def _has_bias(layer: nn.Module) -> bool:
    """Whether a layer of its kind is made with a bias where nothing is said."""
    return not isinstance(layer, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.RMSNorm)


def _short(value: Any, *, pairs: bool = True) -> str:
    """A literal; one number in place of several that are equal, where these are a `pair`."""
    if isinstance(value, tuple | list):
        same = len(set(value)) == 1 and (pairs or len(value) == 1)
        return repr(value[0]) if same else repr(tuple(value))
    return literal(value) if isinstance(value, str) else repr(value)


def module_of(node: fx.Node) -> str | None:
    """The call that makes the module that an operator of one value is; None where there is none."""
    packet = getattr(node.target, "overloadpacket", None)
    name = "" if packet is None else str(packet.__name__)
    plain = name.removesuffix("_")
    if name == "flatten" and tuple(node.args[1:]) == (1,) and not node.kwargs:
        return "nn.Flatten()"
    if name in ("hardtanh", "hardtanh_") and tuple(node.args[1:]) == (0.0, 6.0):
        return "nn.ReLU6(inplace=True)" if name.endswith("_") else "nn.ReLU6()"
    if plain not in _MODULES or any(
        not isinstance(each, int | float | list | tuple) for each in node.args[1:]
    ):
        return None
    given = [_short(each) for each in node.args[1:]]
    given += [f"{key}={_short(each)}" for key, each in node.kwargs.items()]
    if name.endswith("_"):
        given.append("inplace=True")
    return f"nn.{_MODULES[plain]}({', '.join(given)})"
