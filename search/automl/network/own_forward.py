"""Layers of classes with a forward of their own, held as the plain layer that they compute.

Such a class pads first, computes its weights from others, or activates afterwards; in between it
calls the layer's function once. An `OwnForward` layer has the weights and the geometry of that call
and is at the place of the user's module, which it keeps as a child: the child's forward runs as it
is written, but for that call, in whose place the plain layer runs. So padding that depends on the
input's size stays right at every size, and whoever cuts, refits or prices sees a plain layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Tensor = torch.Tensor
_CONVOLUTION: Final = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED: Final = (*_CONVOLUTION[:5], "output_padding", "groups", "dilation")
#: Arguments of the functions that layers call, in their order.
_ARGUMENTS: Final[dict[Any, tuple[str, ...]]] = {
    F.linear: _CONVOLUTION[:3],
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), _CONVOLUTION),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), _TRANSPOSED),
}
_DEFAULTS: Final = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}


@dataclass(frozen=True, slots=True)
class LayerFunction:
    """A call of a layer's function.

    Attributes:
        input, weight, bias: Its tensors.
        geometry: Stride, padding and the like by name, one number per dimension; padding may be
            "same" or "valid". Empty for a linear map.
    """

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    geometry: dict[str, Any]


def layer_function(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> LayerFunction | None:
    """A call of a torch function as that of a layer; None where it is another function."""
    known = _ARGUMENTS.get(func)
    if known is None:
        return None
    given = dict(zip(known, args, strict=False)) | kwargs
    weight: Tensor = given["weight"]
    geometry = {name: given.get(name, _DEFAULTS[name]) for name in known[3:]}
    for name, value in geometry.items():
        if name != "groups" and not isinstance(value, str):
            geometry[name] = _each(value, weight.dim() - 2)
    return LayerFunction(given["input"], weight, given.get("bias"), geometry)


class Rerouted(TorchFunctionMode):
    """Runs `target` in place of the calls of a layer's function that are made inside it."""

    def __init__(self, target: Callable[[LayerFunction], Tensor]) -> None:
        super().__init__()
        self._target = target

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = layer_function(func, args, kwargs or {})
        return func(*args, **(kwargs or {})) if call is None else self._target(call)


class OwnForward(nn.Module):
    """A plain layer inside the forward of another module, its child `around`.

    Attributes:
        around: The user's module; the call of a layer's function in its forward is this layer.
        inside: Whether the layer itself runs, not what is around it.
    """

    around: nn.Module
    inside: bool = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What `around` gives."""
        if self.inside:
            stands_in = self._modules.get("stands_in")
            return (super().forward if stands_in is None else stands_in)(*args, **kwargs)
        with Rerouted(self._layer):
            return self.around(*args, **kwargs)

    @property
    def replaced(self) -> bool:
        """Whether another module runs in the layer's place."""
        return "stands_in" in self._modules

    def replace(self, module: nn.Module) -> None:
        """Run a module in the layer's place, within what is around it; the layer's weights go."""
        self.add_module("stands_in", module)
        for name in ("weight", "bias"):
            self.register_parameter(name, None)

    def _layer(self, call: LayerFunction) -> Tensor:
        own = {name: getattr(self, name) for name in call.geometry if name != "groups"}
        values, padding = call.input, call.geometry.get("padding")
        if padding is not None and padding != own["padding"]:
            values, own = _padded(values, padding, own["padding"]), own | {"padding": padding}
        if any(call.geometry[name] != value for name, value in own.items()):
            raise ValueError("a layer's geometry depends on its input")
        self.inside = True
        try:
            result: Tensor = self(values)  # as a module, so that whoever watches sees a layer
        finally:
            self.inside = False
        return result


class OwnForwardConv1d(OwnForward, nn.Conv1d):
    """As `OwnForward`."""


class OwnForwardConv2d(OwnForward, nn.Conv2d):
    """As `OwnForward`."""


class OwnForwardConv3d(OwnForward, nn.Conv3d):
    """As `OwnForward`."""


class OwnForwardConvTranspose1d(OwnForward, nn.ConvTranspose1d):
    """As `OwnForward`."""


class OwnForwardConvTranspose2d(OwnForward, nn.ConvTranspose2d):
    """As `OwnForward`."""


class OwnForwardConvTranspose3d(OwnForward, nn.ConvTranspose3d):
    """As `OwnForward`."""


class OwnForwardLinear(OwnForward, nn.Linear):
    """As `OwnForward`."""


#: Per plain layer, the class of those that run inside a forward.
OWN_FORWARD: Final[dict[type[nn.Module], type[OwnForward]]] = {
    nn.Conv1d: OwnForwardConv1d,
    nn.Conv2d: OwnForwardConv2d,
    nn.Conv3d: OwnForwardConv3d,
    nn.ConvTranspose1d: OwnForwardConvTranspose1d,
    nn.ConvTranspose2d: OwnForwardConvTranspose2d,
    nn.ConvTranspose3d: OwnForwardConvTranspose3d,
    nn.Linear: OwnForwardLinear,
}


def _padded(values: Tensor, wanted: Any, own: Any) -> Tensor:
    """Values with what a call pads beyond the layer's own padding, which is none."""
    if any(own) or isinstance(wanted, str):
        raise ValueError("a layer's padding depends on its input")
    amounts = [amount for extent in reversed(wanted) for amount in (extent, extent)]
    return F.pad(values, amounts)


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return numbers * dimensions if len(numbers) == 1 else numbers
