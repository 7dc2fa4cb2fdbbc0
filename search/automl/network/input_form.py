"""Inputs of more than one float tensor, each as one row of floats, and a model that takes rows.

Everything between the user's data and the user's model handles one float tensor, images first. Of
an input that is a float tensor already this is the tensor itself. Of others a row holds all tensors
of one input one after another, and a hook on the model takes rows apart. The model's modules keep
their names, and it may still be called as it was.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import nn

Tensor = torch.Tensor
#: How a model is called with what the data gives, x: f(x), f(*x), f(**x), or f(its only tensor).
Style = Literal["one", "positional", "keyword", "alone"]
#: Whole numbers up to this are floats without loss.
EXACT: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor stands: its number among the tensors of an input."""

    number: int


@dataclass(frozen=True, slots=True)
class InputTensor:
    """One tensor of an input.

    Attributes:
        name: Of its key, or its place.
        shape: Of one input's, without the batch.
        dtype: As the data gives it, but for floats, which are all 32-bit.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def values(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class InputForm:
    """What one batch of the data holds beside its targets.

    Attributes:
        nest: The mapping, sequence or tensor, with a `Slot` for each tensor; what else is in it
            (None, numbers, text) is the same in each batch.
        tensors: In the order of their numbers.
    """

    nest: Any
    tensors: tuple[InputTensor, ...]

    @property
    def plain(self) -> bool:
        """Whether it is a float tensor."""
        return isinstance(self.nest, Slot) and self.tensors[0].dtype.is_floating_point

    @property
    def single(self) -> bool:
        """Whether there is one tensor in it, which keeps its shape."""
        return len(self.tensors) == 1

    def describe(self) -> str:
        """Names, kinds and shapes: "input_ids int64 16, attention_mask int64 16"."""
        return ", ".join(
            f"{each.name} {str(each.dtype).removeprefix('torch.')} "
            f"{'x'.join(map(str, each.shape)) or 'scalar'}"
            for each in self.tensors
        )

    def pack(self, inputs: Any, *, copied: bool = True) -> Tensor:
        """A batch as floats, inputs first: [inputs, values], or as it is where it is one tensor.

        Args:
            inputs: Of this form.
            copied: Whether the values are copies: who made the batch may go on writing into it.

        Raises:
            ValueError: The batch is of another form.
        """
        found: dict[int, Tensor] = {}
        _sort(self.nest, inputs, found)
        given = [found[number] for number in range(len(self.tensors))]
        for each, tensor in zip(self.tensors, given, strict=True):
            if tuple(tensor.shape[1:]) != each.shape or len(tensor) != len(given[0]):
                shapes = f"{tuple(tensor.shape[1:])}, not {each.shape}"
                raise ValueError(f"{each.name} has the shape {shapes}")
        floats = [each.detach().to("cpu", torch.float32, copy=copied) for each in given]
        if self.single:
            return floats[0]
        return torch.cat([each.reshape(len(each), -1) for each in floats], 1)

    def split(self, rows: Tensor) -> list[Tensor]:
        """The tensors of a batch, each of its own kind and shape."""
        if self.single:
            return [rows.to(self.tensors[0].dtype)]
        parts = rows.split([each.values for each in self.tensors], 1)
        return [
            part.reshape(len(rows), *each.shape).to(each.dtype)
            for part, each in zip(parts, self.tensors, strict=True)
        ]

    def unpack(self, rows: Tensor) -> Any:
        """A batch as the data gave it."""
        return _put_together(self.nest, self.split(rows))


def form_of(inputs: Any) -> InputForm:
    """The form of a batch without its targets.

    Raises:
        ValueError: There is no tensor in it, or one without a batch as its first dimension, of
            another batch than the others, or with whole numbers that floats do not hold.
    """
    found: list[Tensor] = []
    names: list[str] = []
    nest = _taken_apart(inputs, "", found, names)
    if not found:
        raise ValueError("there is no tensor in it")
    batch = found[0].shape[:1]
    for name, each in zip(names, found, strict=True):
        if each.dim() == 0 or not len(each):
            raise ValueError(f"{name} has no batch: its shape is {tuple(each.shape)}")
        if each.shape[:1] != batch:
            raise ValueError(f"{name} has a batch of {len(each)}, {names[0]} has one of {batch[0]}")
        if each.is_complex():
            raise ValueError(f"{name} is of {each.dtype}, which is not supported")
        whole = not each.is_floating_point() and each.dtype is not torch.bool
        if whole and each.numel() and max(map(abs, map(int, each.aminmax()))) > EXACT:
            raise ValueError(f"{name} has whole numbers beyond {EXACT:,}, which floats do not hold")
    kinds = (torch.float32 if each.is_floating_point() else each.dtype for each in found)
    tensors = zip(names, (tuple(each.shape[1:]) for each in found), kinds, strict=True)
    return InputForm(nest, tuple(InputTensor(*each) for each in tensors))


def _taken_apart(value: Any, name: str, found: list[Tensor], names: list[str]) -> Any:
    """The nest of a batch; its tensors and their names are added to what was found."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        found.append(value)
        names.append(name or "input")
        return Slot(len(found) - 1)
    if isinstance(value, Mapping):
        return {
            key: _taken_apart(held, f"{name}.{key}" if name else str(key), found, names)
            for key, held in value.items()
        }
    if isinstance(value, list | tuple):
        parts = [
            _taken_apart(held, f"{name or 'input'}.{place}", found, names)
            for place, held in enumerate(value)
        ]
        return tuple(parts) if isinstance(value, tuple) else parts
    return value


def _sort(nest: Any, value: Any, found: dict[int, Tensor]) -> None:
    """The tensors of a batch by the numbers that a nest gives them."""
    if isinstance(nest, Slot):
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if not isinstance(value, Tensor):
            raise ValueError(f"there is a {type(value).__name__} in place of a tensor")
        found[nest.number] = value
    elif isinstance(nest, dict):
        if not isinstance(value, Mapping) or value.keys() != nest.keys():
            keys = (
                ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            )
            raise ValueError(f"it holds {keys}, not {', '.join(map(str, nest))}")
        for key, held in nest.items():
            _sort(held, value[key], found)
    elif isinstance(nest, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(nest):
            raise ValueError(f"it is a {type(value).__name__}, not {len(nest)} parts")
        for held, part in zip(nest, value, strict=True):
            _sort(held, part, found)


def _put_together(nest: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(nest, Slot):
        return tensors[nest.number]
    if isinstance(nest, dict):
        return {key: _put_together(held, tensors) for key, held in nest.items()}
    if isinstance(nest, list | tuple):
        return type(nest)(_put_together(held, tensors) for held in nest)
    return nest


@dataclass(frozen=True, slots=True)
class InputHook:
    """What a model is given in place of a row, or of tensors that it would write into.

    Attributes:
        form: What rows are made of.
        style: How the model is called.
        example: One row of the data.
        copies: Whether the model writes into what it is given, and gets copies.
    """

    form: InputForm
    style: Style
    example: Tensor
    copies: bool = False

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the model takes."""
        if not self.form.plain and len(args) == 1 and not kwargs and self._is_rows(args[0]):
            args, kwargs = self.arguments(args[0])
        if self.copies:
            args, kwargs = tuple(map(_copied, args)), {k: _copied(v) for k, v in kwargs.items()}
        return args, kwargs

    def _is_rows(self, given: Any) -> bool:
        if not isinstance(given, Tensor) or not given.is_floating_point():
            return False
        return self.form.single or tuple(given.shape[1:]) == tuple(self.example.shape[1:])

    def arguments(self, rows: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that rows stand for."""
        return self.arranged(self.form.split(rows))

    def arranged(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the tensors of an input stand in."""
        if self.style == "alone":
            return tuple(tensors), {}
        given = _put_together(self.form.nest, tensors)
        if self.style == "keyword":
            return (), given
        return (tuple(given) if self.style == "positional" else (given,)), {}


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def styles_of(model: nn.Module, form: InputForm) -> tuple[Style, ...]:
    """How a model may be called with such inputs, by the signature of its forward."""
    if isinstance(form.nest, Slot):
        return ("one",)
    taken = form.nest.items() if isinstance(form.nest, dict) else ()
    positional = () if isinstance(form.nest, dict) else form.nest
    style: Style = "keyword" if isinstance(form.nest, dict) else "positional"
    try:
        inspect.signature(model.forward).bind(*positional, **dict(taken))
    except (TypeError, ValueError):
        return ("one", "alone") if form.single else ("one",)
    return (style, "one")


def taking_rows(
    model: nn.Module, form: InputForm, style: Style, example: Tensor, *, copies: bool
) -> nn.Module:
    """The model itself where it takes a float tensor as it comes, else one that takes rows too.

    That is a module of the same parts; the model is left as it is.

    Args:
        model: As the user calls it.
        form: Of the data's inputs.
        style: How it is called with them.
        example: A row of the data, [1, values].
        copies: Whether the model writes into its inputs.
    """
    if form.plain and not copies:
        return model
    found = copy.copy(model)
    for hooks in ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"):
        setattr(found, hooks, copy.copy(getattr(model, hooks)))
    found.register_forward_pre_hook(InputHook(form, style, example, copies), with_kwargs=True)
    return found


def input_hook(model: nn.Module) -> InputHook | None:
    """The hook of a model that takes rows, or of the network in it."""
    hooks = (each for part in model.modules() for each in part._forward_pre_hooks.values())
    return next((each for each in hooks if isinstance(each, InputHook)), None)


def example_of(model: nn.Module, shape: Sequence[int], seed: int = 0) -> Tensor:
    """An input that the model takes: random, or a row of the data where it takes rows."""
    hook = input_hook(model)
    if hook is not None and not hook.form.plain:
        return hook.example
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))
