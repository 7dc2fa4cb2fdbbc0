"""How a value passes what is between merged layers: nothing is done to it on its way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_map

Tensor = torch.Tensor
#: What may be done to a sum, in place and with its operands the other way round too.
_ADDITIONS: Final = ("add", "radd", "iadd")


class Carried:
    """A value on its way from the place of a first layer to that of the last one.

    Whatever a network does to it on the way is done to a single number beside it: modules run as
    they are written, and operations keep their addresses.

    Args:
        value: What is carried.
        beside: The number.
    """

    def __init__(self, value: Tensor, beside: Tensor) -> None:
        self.value, self._beside = value, beside

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Do something to the numbers beside carried values."""
        carried = next(each for each in (*args, *(kwargs or {}).values()) if isinstance(each, cls))
        args, kwargs = tree_map(_beside, (args, kwargs or {}))
        return carried._with(func(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        """A method of tensors, or what a tensor says of itself."""
        found = getattr(self._beside, name)
        return partial(self._called, name) if callable(found) else found

    def _called(self, name: str, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(_beside, (args, kwargs))
        return self._with(getattr(self._beside, name)(*args, **kwargs))

    def _with(self, beside: Any) -> Any:
        return Carried(self.value, beside) if isinstance(beside, Tensor) else beside


def _beside(leaf: Any) -> Any:
    return leaf._beside if isinstance(leaf, Carried) else leaf


def _operator(name: str) -> Callable[..., Any]:
    def called(self: Carried, *args: Any) -> Any:
        return self._called(name, *args)

    return called


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "neg", "pow"):
    setattr(Carried, f"__{_name}__", _operator(f"__{_name}__"))


class Summed:
    """What a last layer wrote, which has in it already what a network adds to it.

    The addition is done to a single number beside it, so that operations keep their addresses. It
    gives the value.

    Args:
        value: The sum.

    Raises:
        TypeError: Something else than an addition was done to it.
    """

    def __init__(self, value: Tensor) -> None:
        self.value, self._beside = value, value.new_zeros(())

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Tensor:
        """The addition."""
        if func.__name__.strip("_") not in _ADDITIONS:
            raise TypeError(f"{func.__name__} of what was to be added alone")
        summed = next(each for each in (*args, *(kwargs or {}).values()) if isinstance(each, cls))
        args, kwargs = tree_map(summed._small, (args, kwargs or {}))
        func(*args, **kwargs)
        return summed.value

    def _small(self, leaf: Any) -> Any:
        return self._beside if isinstance(leaf, Tensor | Summed) else leaf

    def add(self, other: Any) -> Tensor:
        """The value, whatever is added."""
        self._beside.add(self._small(other))
        return self.value

    add_ = __add__ = __radd__ = add


def summed(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Summed:
    """What a layer gives whose output a network adds to what is in it: a forward hook."""
    return Summed(output)


class Carry(nn.Module):
    """In a first layer's place: sends on what the layer would read.

    Args:
        before: What is done to that first; None for nothing.
    """

    def __init__(self, before: nn.Module | None = None) -> None:
        super().__init__()
        self.before = before

    def forward(self, values: Tensor) -> Carried:
        """The value, as it passes what is between."""
        if self.before is not None:
            values = self.before(values)
        return Carried(values, values.new_zeros(()))


def unload(module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
    """What the last layer's place reads, before it does: a forward pre-hook.

    Raises:
        TypeError: It was given something else than what was sent on.
    """
    if len(args) != 1 or not isinstance(args[0], Carried):
        raise TypeError("what merged layers hand on did not arrive")
    return (args[0].value,)
