"""Walks over the calibration images: what channels are, and what the outputs make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.importance.places import ChannelPlace, by_channel
from automl.network import Address, ChannelGroup, ForwardTracer, LeafCall

Tensor = torch.Tensor
#: Gives a batch of the images, and which they are.
Shown = Callable[[], Iterator[tuple[slice, Tensor]]]


@dataclass(frozen=True, slots=True)
class Pooled:
    """What the channels of a group are in one value: each [images, channels].

    Attributes:
        mean: Mean over an image's places.
        size: Mean magnitude.
        highest: The largest.
        zeros: Share of places that are zero.
        rectified: Whether a ReLU wrote the value.
    """

    mean: Tensor
    size: Tensor
    highest: Tensor
    zeros: Tensor
    rectified: bool


class PoolingWalk(ForwardTracer):
    """Pools values as they are written.

    Args:
        model: The dense network.
        places: Per group, its values.
    """

    def __init__(self, model: nn.Module, places: Mapping[str, Sequence[ChannelPlace]]) -> None:
        super().__init__(model)
        self._at: dict[tuple[Address, bool], list[tuple[str, int, ChannelPlace]]] = {}
        for name, several in places.items():
            for number, place in enumerate(several):
                key = (place.address, place.written)
                self._at.setdefault(key, []).append((name, number, place))
        self._places, self._images = places, 0
        self._parts: dict[tuple[str, int], list[tuple[Tensor, ...]]] = {}

    def walk(self, shown: Shown) -> dict[str, tuple[Pooled, ...]]:
        """Per group, its values pooled."""
        with self.attached():
            for here, images in shown():
                self._images = here.stop - here.start
                self.start()
                self._model(images)
        return {
            name: tuple(self._joined(name, number, at) for number, at in enumerate(several))
            for name, several in self._places.items()
        }

    def _joined(self, name: str, number: int, place: ChannelPlace) -> Pooled:
        parts = zip(*self._parts[name, number], strict=True)
        mean, size, highest, zeros = (torch.cat(part) for part in parts)
        return Pooled(mean, size, highest, zeros, place.rectified)

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._pool((step.address, False), args[0])

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self._pool((step.address, True), output)

    def _pool(self, key: tuple[Address, bool], value: Any) -> None:
        for name, number, place in self._at.get(key, ()):
            numbers = by_channel(value, place, self._images)
            zeros = (numbers == 0).float().mean(2)
            found = (numbers.mean(2), numbers.abs().mean(2), numbers.amax(2), zeros)
            self._parts.setdefault((name, number), []).append(found)


class _Shapes(PoolingWalk):
    """Leading extents of values."""

    def extents(self, images: Tensor) -> list[int]:
        """Of one pass over some images, in the order in which the values come."""
        self.found: list[int] = []
        with self.attached():
            self._model(images)
        return self.found

    def _pool(self, key: tuple[Address, bool], value: Any) -> None:
        if key in self._at:
            self.found.append(int(value.shape[0]))


def images_first(
    model: nn.Module, places: Mapping[str, Sequence[ChannelPlace]], two: Tensor
) -> bool:
    """Whether images come first in all values; in sequences that come first they do not."""
    walk = _Shapes(model, places)
    one, both = walk.extents(two[:1]), walk.extents(two)
    return both == [2 * extent for extent in one]


def input_place(model: nn.Module, name: str) -> ChannelPlace:
    """What a convolution or a linear layer reads."""
    linear = isinstance(model.get_submodule(name), nn.Linear)
    return ChannelPlace((name, 0), False, (-1 if linear else 1,), torch.zeros(1, 1).long())


def read_by(model: nn.Module, modules: Sequence[str], images: Tensor, count: int) -> list[Tensor]:
    """What modules read of some images, those first; of linear layers [images, rows, features].

    Args:
        model: The network.
        modules: Convolutions and linear layers, by name; of one that runs several times the last.
        images: The images.
        count: How many they are.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, linear: bool) -> Callable[..., None]:
        def given(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            value = (args or tuple(kwargs.values()))[0].detach().clone()
            found[name] = value.reshape(count, -1, value.shape[-1]) if linear else value

        return given

    with ExitStack() as hooks, torch.no_grad():
        for name in modules:
            module = model.get_submodule(name)
            hook = keep(name, isinstance(module, nn.Linear))
            handle = module.register_forward_pre_hook(hook, with_kwargs=True)
            hooks.callback(handle.remove)
        model(images)
    return [found[name] for name in modules]


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a group's channels are given to a module, or written by one.

    Attributes:
        group: Name of the group.
        module: Name of the module.
        written: Whether it writes them.
        place: Where the channels lie in what it reads or writes.
    """

    group: str
    module: str
    written: bool
    place: ChannelPlace


def readings_of(model: nn.Module, group: ChannelGroup) -> tuple[Reading, ...]:
    """All readers of a group's channels; of a product, its first operand."""
    sides = [(side, False) for side in group.consumers]
    sides += [(pair.left, True) for pair in group.pairs]
    found = []
    for side, written in sides:
        linear = isinstance(model.get_submodule(side.module), nn.Linear)
        place = ChannelPlace(
            (side.module, 0), written, (-1 if linear else 1,), torch.tensor(side.positions)
        )
        found.append(Reading(group.name, side.module, written, place))
    return tuple(found)


#: From outputs of some images and which they are, what is differentiated, summed over the images.
Objective = Callable[[Any, slice], Tensor]


class GradientWalk:
    """What the objective makes of scaling a channel, to first order, image by image.

    Each reader is given a copy of what it reads, so that a gradient is of what this reader makes of
    it alone: a residual stream goes on as it is. Their sum is that of the channel going from all
    of its readers.

    Args:
        model: The dense network; gradients of its weights are not taken.
        readings: Of all groups that are asked for.
    """

    def __init__(self, model: nn.Module, readings: Sequence[Reading]) -> None:
        self._model = model
        self._of: dict[tuple[str, bool], list[Reading]] = {}
        for reading in readings:
            self._of.setdefault((reading.module, reading.written), []).append(reading)
        self._caught: list[tuple[tuple[str, bool], Tensor]] = []

    def walk(self, shown: Shown, objective: Objective) -> dict[str, Tensor]:
        """Per group, sums over readers and places of value times gradient: [images, channels].

        Groups whose gradient is none are left out.
        """
        parts: dict[str, list[Tensor]] = {}
        for here, images in shown():
            for name, found in self._batch(images, here, objective).items():
                parts.setdefault(name, []).append(found)
        return {name: torch.cat(found) for name, found in parts.items()}

    def _batch(self, images: Tensor, here: slice, objective: Objective) -> dict[str, Tensor]:
        self._caught = []
        with ExitStack() as hooks, torch.enable_grad():
            for name, written in self._of:
                module = self._model.get_submodule(name)
                handle = (
                    module.register_forward_hook(self._writes(name))
                    if written
                    else module.register_forward_pre_hook(self._reads(name), with_kwargs=True)
                )
                hooks.callback(handle.remove)
            total = objective(self._model(images), here)
        values = [value for _, value in self._caught]
        if not (values and total.requires_grad):
            return {}
        slopes = torch.autograd.grad(total, values, allow_unused=True)
        result: dict[str, Tensor] = {}
        count = here.stop - here.start
        for (key, value), slope in zip(self._caught, slopes, strict=True):
            if slope is None:
                continue
            product = value.detach() * slope
            for reading in self._of[key]:
                place = reading.place
                at = ChannelPlace(
                    place.address, place.written, _counted(place, value), place.positions
                )
                found = by_channel(product, at, count).sum(2)
                result[reading.group] = result.get(reading.group, 0) + found
        self._caught = []
        return result

    def _reads(self, name: str) -> Callable[..., Any]:
        def given(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (self._copied((name, False), args[0]), *args[1:]), kwargs
            first = next(iter(kwargs))
            return args, kwargs | {first: self._copied((name, False), kwargs[first])}

        return given

    def _writes(self, name: str) -> Callable[..., Any]:
        def given(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            return self._copied((name, True), output)

        return given

    def _copied(self, key: tuple[str, bool], value: Tensor) -> Tensor:
        copy = value.clone() if value.requires_grad else value.detach().clone().requires_grad_()
        self._caught.append((key, copy))
        return copy


def _counted(place: ChannelPlace, value: Tensor) -> tuple[int, ...]:
    """Dimensions from the front."""
    return tuple(dim % value.dim() for dim in place.dims)
