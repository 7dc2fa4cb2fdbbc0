"""Tensors that modules hold: parameters, buffers, attributes, and those in a dict or list of one.

Some are made of others when the model is used and kept from then on: a table of biases of each
head, by device, that is looked up once; one that `eval` makes of a parameter. What is kept is
forgotten before a pass is recorded, so that it is seen what it is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from automl.errors import Raised, attempt
from automl.network.forward_tracer import base_kind
from automl.network.outputs import output_tensors

Tensor = torch.Tensor
#: Attributes that every module has: its parameters, its hooks.
_OWN: Final = frozenset(vars(nn.Module()))
#: Attribute of a module: names of its attributes that are caches.
_NOTE: Final = "_caches"


@dataclass(frozen=True, slots=True)
class HeldPlace:
    """Where a tensor is held.

    Attributes:
        name: The module's dotted name and the attribute's; of an entry also its key, in brackets.
        module: The module.
        owner: It, or the dict or list.
        key: Of the tensor in its owner.
    """

    name: str
    module: nn.Module
    owner: Any
    key: Any

    @property
    def tensor(self) -> Tensor:
        """What is held there."""
        found: Tensor = (
            getattr(self.module, self.key) if self.owner is self.module else self.owner[self.key]
        )
        return found

    def hold(self, tensor: Tensor) -> None:
        """Hold another tensor there."""
        if self.owner is self.module:
            setattr(self.module, self.key, tensor)
        else:
            self.owner[self.key] = tensor


def places_of(model: nn.Module) -> Iterator[HeldPlace]:
    """Wherever a tensor is held, modules in the order of their names."""
    for prefix, module in model.named_modules():
        dotted = f"{prefix}." if prefix else ""
        for name, value in (vars(module) | module._parameters | module._buffers).items():
            if isinstance(value, Tensor):
                yield HeldPlace(dotted + name, module, module, name)
            for key, each in _entries(value) if name not in _OWN else ():
                if isinstance(each, Tensor):
                    yield HeldPlace(f"{dotted}{name}[{key}]", module, value, key)


def _entries(value: Any) -> Iterable[tuple[Any, Any]]:
    """What a plain dict or list holds, by its key."""
    if type(value) is dict:
        return value.items()
    return enumerate(value) if type(value) is list else ()


def constants_of(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of more than one value that no layer holds; one that several hold is named once."""
    found: dict[int, tuple[str, Tensor]] = {}
    for place in places_of(model):
        if not base_kind(place.module) and place.tensor.numel() > 1:
            found.setdefault(id(place.tensor), (place.name, place.tensor))
    return dict(found.values())


def held_tensor(model: nn.Module, name: str) -> Tensor:
    """The tensor that is held at a place of this name."""
    if name.endswith("]"):
        return next(place.tensor for place in places_of(model) if place.name == name)
    prefix, _, leaf = name.rpartition(".")
    found: Tensor = getattr(model.get_submodule(prefix), leaf)
    return found


def find_caches(model: nn.Module, example: Tensor) -> None:
    """Leave a note on modules which of their attributes are caches, in place.

    A cache is a dict of tensors that is filled again when it is empty, with the network's outputs
    as before.

    Args:
        model: In eval mode; it has run on the example.
        example: An input.
    """
    found = [
        (module, name)
        for module in model.modules()
        for name, value in vars(module).items()
        if type(value) is dict and name not in _OWN and value
        if all(isinstance(each, Tensor) for each in value.values())
    ]
    expected = _outputs(model, example) if found else []
    for parts in [found, *([part] for part in found)] if found else []:
        if _is_refilled(model, example, parts, expected):
            for module, name in parts:
                vars(module).setdefault(_NOTE, []).append(name)
            if parts is found:
                return


def forget(model: nn.Module) -> None:
    """Empty the caches that were found, in place."""
    for module in model.modules():
        for name in vars(module).get(_NOTE, ()):
            getattr(module, name).clear()


def _is_refilled(
    model: nn.Module,
    example: Tensor,
    parts: list[tuple[nn.Module, str]],
    expected: list[Tensor],
) -> bool:
    """Whether caches are filled again; as they were where they are none."""
    before = [dict(getattr(module, name)) for module, name in parts]
    for module, name in parts:
        getattr(module, name).clear()
    found = attempt(lambda: _outputs(model, example))
    if (
        not isinstance(found, Raised)
        and all(
            getattr(module, name).keys() == was.keys()
            for (module, name), was in zip(parts, before, strict=True)
        )
        and all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    ):
        return True
    for (module, name), was in zip(parts, before, strict=True):
        getattr(module, name).clear()
        getattr(module, name).update(was)
    return False


def _outputs(model: nn.Module, example: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return output_tensors(model(example.clone()))
