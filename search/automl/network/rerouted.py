"""Linear layers whose weights a module hands to `F.linear` itself, called as the layers they are.

Swin V2, BEiT and EVA put the biases of their queries and values together first, torchvision's Swin
hands all weights to one function. In the model that is read, such a call runs the layer, which then
holds the bias; the module's code stays as it is written.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from automl.errors import Raised, attempt
from automl.network.sizes import is_own_call, owner_of_call

Tensor = torch.Tensor
_LINEAR: Any = F.linear


class ReroutedForward:
    """The forward of a module that calls layers by their weights, in the place of its own.

    Args:
        module: The module.
        layers: Per call of `F.linear`, in their order within its own forward: the layer inside it.
        forward: Its own forward.
    """

    def __init__(
        self, module: nn.Module, layers: Mapping[int, str], forward: Callable[..., Any]
    ) -> None:
        self.module, self.layers, self.forward = module, layers, forward

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.forward)

    @property
    def __code__(self) -> CodeType:  # torch's export says where a whole model's forward is
        found: CodeType = self.forward.__code__
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        with _Rerouted(self.module, self.layers):
            return self.forward(*args, **kwargs)


class _Rerouted(TorchFunctionMode):
    def __init__(self, module: nn.Module, layers: Mapping[int, str]) -> None:
        super().__init__()
        self._module, self._layers, self._count = module, layers, 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _LINEAR and is_own_call(self._module):
            self._count += 1
            layer = self._layers.get(self._count - 1)
            if layer is not None:
                return self._module.get_submodule(layer)(*args[:1])
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of `F.linear` that a module made by the weights of a layer.

    Attributes:
        module: It.
        number: How many such calls its forward made before.
        layer: The layer that holds the weights; None where none does.
        bias: What it was called with.
    """

    module: nn.Module
    number: int
    layer: nn.Linear | None
    bias: Tensor | None


class _Calls(TorchFunctionMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        linears = [each for each in model.modules() if isinstance(each, nn.Linear)]
        self._layers = {id(each.weight): each for each in linears}
        self._counts: Counter[nn.Module] = Counter()
        self.found: list[_Call] = []

    def begin(self, module: nn.Module, _: Any) -> None:
        """A module's forward begins."""
        self._counts[module] = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _LINEAR:
            self._note(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _note(self, _: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        module = owner_of_call()
        if module is not None:
            bias = None if bias is None else bias.clone()
            layer = self._layers.get(id(weight))
            self.found.append(_Call(module, self._counts[module], layer, bias))
            self._counts[module] += 1


def reroute(model: nn.Module, inputs: Tensor) -> None:
    """Have modules call the layers whose weights they hand to `F.linear`, in place.

    Layers that are also called otherwise, or with biases that depend on the input, are left.

    Args:
        model: In eval mode, without gradients.
        inputs: An input.
    """
    first = attempt(lambda: _calls(model, inputs))
    if isinstance(first, Raised) or all(each.layer is each.module for each in first):
        return
    second = attempt(lambda: _calls(model, inputs.flip(-1)))
    if isinstance(second, Raised) or len(second) != len(first):
        return
    by_layer: dict[nn.Linear, list[_Call]] = {}
    for one, other in zip(first, second, strict=True):
        if one.layer is not None and one.layer is other.layer:
            by_layer.setdefault(one.layer, []).append(one)
    moving = {id(one) for one, other in zip(first, second, strict=True) if not _alike(one, other)}
    routes: dict[nn.Module, dict[int, str]] = {}
    for layer, calls in by_layer.items():
        paths = [_path(call, layer) for call in calls]
        fixed = all(_alike(calls[0], call) and id(call) not in moving for call in calls)
        if not fixed or not all(paths):
            continue
        bias = calls[0].bias
        held = None if bias is None else nn.Parameter(bias, requires_grad=False)
        layer.register_parameter("bias", held)
        for call, path in zip(calls, paths, strict=True):
            routes.setdefault(call.module, {})[call.number] = path
    for module, layers in routes.items():
        module.forward = ReroutedForward(module, layers, module.forward)


def _calls(model: nn.Module, inputs: Tensor) -> list[_Call]:
    calls = _Calls(model)
    handles = [each.register_forward_pre_hook(calls.begin) for each in model.modules()]
    try:
        with torch.no_grad(), calls:
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls.found


def _alike(one: _Call, other: _Call) -> bool:
    if one.bias is None or other.bias is None:
        return one.bias is other.bias
    return torch.equal(one.bias, other.bias)


def _path(call: _Call, layer: nn.Linear) -> str:
    """The layer's name inside the module that called; "" where it is none inside."""
    names = (name for name, module in call.module.named_modules() if module is layer)
    return next(names, "")
