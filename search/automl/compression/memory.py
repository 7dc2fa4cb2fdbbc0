"""What is held at once while a network is walked over many images, from a limit in bytes.

Of a limit M:

    M / 16    values of the images that run through the network together (the batch)
    M / 8     values that the refit keeps of images that wait for others at a layer; before it,
              what is kept of channels to rank them by
    M / 8     dense values to aim at, at sampled places, of all layers together
    M / 3     second moments of as many layers as fit while channels are ranked, M / 6 from then
              on, none in a refit; where not all do, the images are walked again
    M / 9     rows of one layer, of what it reads and what it aims at

Beside that limit there are the program, the images, the models and the compression database:
`room` says how large a limit they leave of all that a process may take. A layer is
refitted on as many images as may wait at it: fewer where maps are large, and each gives more rows.
Time grows linearly in images and in multiply-accumulates whatever the limit, but for the walks that
moments take: the moments' bytes / (M / 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Final, Literal, Protocol

import torch
from torch import nn

from automl.errors import UsageError
from automl.heap import resident_bytes
from automl.network import Address, Trace
from automl.options import MEMORY
from automl.units import format_bytes

Tensor = torch.Tensor
_BATCH, _HELD, _TARGETS, _MOMENTS, _CELLS = 16, 8, 8, 3, 72
#: Of a limit, what may be resident beyond what was when the plan was made, before freed memory is
#: given back: a batch and the layer that it comes to take some sixth more until the next look.
_FULL: Final = 1 / 2
#: Bytes of a number of an activation.
_NUMBER: Final = 4
#: Most numbers of one layer's inputs that are read over all images.
CELLS: Final = 28_000_000


#: Where parts wait: before a "layer" runs, before what stands in for one does ("form"), or after an
#: operation has written a value whose "range" is to be found.
Gate = tuple[Literal["layer", "form", "range"], Address]


class Images(Protocol):
    """Inputs by their numbers: a tensor, or what is read as one."""

    @property
    def shape(self) -> torch.Size:
        """Images first."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, here: slice | Tensor, /) -> Tensor:
        """Some of them: those between two, or those of some numbers."""
        ...


@dataclass(frozen=True, slots=True)
class ImageParts:
    """Images in the parts in which they go through a network.

    Attributes:
        read: Gives the images of these numbers.
        slices: Numbers of the images of each part.
        waiting: Per gate, how many parts may wait at it; all where it is not named.
        full_bytes: What the process may be resident with before it gives freed memory back.
    """

    read: Callable[[slice], Tensor]
    slices: tuple[slice, ...]
    waiting: Mapping[Gate, int]
    full_bytes: int = 0

    @property
    def images(self) -> int:
        """How many there are."""
        return int(self.slices[-1].stop)

    def first(self, images: int) -> ImageParts:
        """At most so many images, the first ones, in the same parts."""
        slices = tuple(
            slice(here.start, min(here.stop, images)) for here in self.slices if here.start < images
        )
        return replace(self, slices=slices)

    def at(self, gate: Gate) -> int:
        """How many parts, the first ones, are waited for at a gate."""
        return min(self.waiting.get(gate, len(self.slices)), len(self.slices))

    def images_at(self, layer: str) -> int:
        """How many images these are at a layer."""
        return int(self.slices[self.at(("layer", (layer, 0))) - 1].stop)


class MemoryPlan:
    """How a network is walked within a limit.

    Args:
        trace: Its recorded pass.
        memory: The limit in bytes.
        scale: How much larger the images are than those of the recorded pass, in numbers.
        cells: Most numbers of a layer's inputs that are read, and of its targets that are kept,
            over all images: narrow layers are sampled at more places than wide ones, at no more
            cost.
        batch: Most images that go through together.

    Raises:
        UsageError: One image takes more than its share; says what limit is needed.
    """

    def __init__(
        self,
        trace: Trace,
        memory: int = MEMORY,
        scale: float = 1.0,
        *,
        cells: int = CELLS,
        batch: int = 1 << 30,
    ) -> None:
        self.memory, self.scale = memory, scale
        self._began = resident_bytes()  # the program, the images, the models
        most, self._waiting = _live_bytes(trace)
        peak = max(1, math.ceil(most * scale))
        self.cells = min(cells, memory // _CELLS)
        self.batch = min(batch, memory // _BATCH // peak)
        if not self.batch:
            check_memory(memory, peak * _BATCH, "one image's values inside the network")

    @property
    def moments_bytes(self) -> int:
        """Of second moments that are held at once."""
        return self.memory // _MOMENTS

    @property
    def full_bytes(self) -> int:
        """What the process may be resident with before it gives freed memory back."""
        return self._began + int(_FULL * self.memory)

    @property
    def held_bytes(self) -> int:
        """Of values that wait in a refit, or of what channels are ranked by."""
        return self.memory // _HELD

    @property
    def targets_bytes(self) -> int:
        """Of dense values to aim at, of all layers together."""
        return self.memory // _TARGETS

    def parts(self, read: Callable[[slice], Tensor], images: int) -> ImageParts:
        """So many images in parts, each as large as the limit allows."""
        slices = tuple(
            slice(first, min(first + self.batch, images)) for first in range(0, images, self.batch)
        )
        return ImageParts(read, slices, self._parts_waiting, self.full_bytes)

    @cached_property
    def _parts_waiting(self) -> dict[Gate, int]:
        room = self.held_bytes
        return {
            gate: max(1, int(room / max(live * self.scale * self.batch, 1)))
            for gate, live in self._waiting.items()
        }


def check_memory(memory: int, needed: int, what: str) -> None:
    """Refuse a limit that is smaller than what is needed.

    Raises:
        UsageError: It names what needs it, and how much.
    """
    if needed > memory:
        raise UsageError(
            f"{format_bytes(memory)} of memory are too few: {what} need a limit of"
            f" {format_bytes(needed)}",
            options=("memory",),
        )


#: Bytes of the program: Python, torch, ONNX Runtime and what exports to it (500 MB when all are
#: imported), and what a session of ONNX Runtime and freed blocks add to it.
_PROGRAM: Final = 650_000_000
#: Copies of the model: the user's, the traced one, and a candidate or one that is measured.
_MODELS: Final = 3
#: What all shares of a limit come to, and what is computed beside them.
_SHARES: Final = 0.75


def room(memory: int, model: nn.Module, images: int, most: int = 0) -> int:
    """The limit that a `MemoryPlan` is given so that a whole process keeps to one.

    It depends on the model and the images alone, so that who makes the weights again has the same.

    Args:
        memory: Most bytes that the process is to be resident with.
        model: What is compressed.
        images: Bytes that all inputs are held in.
        most: Bytes of one image inside the network; 0 where they are not known yet.

    Raises:
        UsageError: What is held in any case leaves too little; says what limit would do.
    """
    least = math.ceil(_SHARES * max(_BATCH * most, 1 << 20))
    fixed = _PROGRAM + images + _held_bytes(model)
    check_memory(memory, fixed + least, "the program, the model, its database and the images")
    return min(memory, int((memory - fixed) / _SHARES))


def _held_bytes(model: nn.Module) -> int:
    """Copies of a model, factors of its eliminations, and two matrices of the widest layer."""
    squares = [
        getattr(layer, "groups", 1) * (layer.weight[0].numel() + 1) ** 2
        for layer in model.modules()
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    ]
    weights = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
    return _MODELS * weights + 9 * _NUMBER * sum(squares) // 16 + 2 * 8 * max(squares, default=0)


def image_bytes(trace: Trace, scale: float = 1.0) -> int:
    """Most bytes that one image takes inside a network."""
    return math.ceil(_live_bytes(trace)[0] * scale)


def _live_bytes(trace: Trace) -> tuple[int, dict[Gate, int]]:
    """Of one image: most bytes inside the network, and the most kept at a gate or a later one.

    Whatever a module was called with is referred to until it returns.
    """
    calls = trace.calls
    size = {
        value: _NUMBER * math.prod(shape)
        for call in calls
        for value, shape in zip(call.outputs, call.out_shapes, strict=True)
    }
    last = {value: i for i, call in enumerate(calls) for value in call.outputs}
    change = [0] * (len(calls) + 1)
    for value, first in last.items():
        change[first] += size[value]
    for i, call in enumerate(calls):
        entered = (trace.modules.get(name, ((), ()))[0] for name in call.step.scope)
        for value in (*call.inputs, *(value for values in entered for value in values)):
            if value in last:
                last[value] = max(last[value], i)
    for value, i in last.items():
        change[i + 1] -= size[value]
    inside = list(accumulate(change))  # while each operation runs
    waiting: dict[Gate, int] = {}
    most: dict[Literal["layer", "range"], int] = {"layer": 0, "range": 0}
    for i in reversed(range(len(calls))):
        step = calls[i].step
        most["range"] = max(most["range"], inside[i])
        waiting["range", step.address] = most["range"]
        if step.module:  # what it reads is there, what it writes is not
            written = sum(size[value] for value in calls[i].outputs)
            most["layer"] = max(most["layer"], inside[i] - written)
            waiting["layer", step.address] = most["layer"]
    return max(inside), waiting
