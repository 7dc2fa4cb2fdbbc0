"""Blocks whose rounding is learned, and what they read and are to write."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from automl.compression.quantization.simulation import FakeQuantizeMode, QuantizedModel
from automl.compression.reconstruction.base import Candidate
from automl.compression.statistics import WEIGHTED
from automl.network import Trace

Tensor = torch.Tensor
#: Layers with weights that a block may have.
_MOST_LAYERS: Final = 8
#: Bytes of what a block reads in both networks and is to write.
_MOST_BYTES: Final = 256 << 20
#: One image in so many is held out, the last ones.
HELD_OUT: Final = 5
#: Images that go through a network together.
_TOGETHER: Final = 64
_LEAST: Final = 16


@dataclass(frozen=True, slots=True)
class RoundingUnit:
    """A module whose layers' rounding is learned together.

    Attributes:
        name: Of the module.
        layers: Those of its layers that are rounded anew.
        reads, writes: Numbers of the values that enter and leave it.
    """

    name: str
    layers: tuple[str, ...]
    reads: int
    writes: int


def units_of(
    trace: Trace, layers: Collection[str], places: Collection[str] = ()
) -> list[RoundingUnit]:
    """The innermost modules of two layers or more, of those that some layers are in.

    A module runs once, one value goes in and one comes out, and it detaches none itself: autograd
    does. In the order in which they run.

    Args:
        trace: Of the network.
        layers: Those that are rounded anew.
        places: Modules that run in one layer's place: blocks of several are around them.
    """
    detached = {m for call in trace.calls if call.step.op == "detach" for m in call.step.scope}
    inside: dict[str, list[str]] = {}
    for call in trace.calls:
        if call.step.op in WEIGHTED:
            for module in call.step.scope:
                inside.setdefault(module, []).append(call.step.module)
    found: dict[str, list[str]] = {}
    for call in trace.calls:
        name = call.step.module
        if name not in layers:
            continue
        scope = (each for each in reversed(call.step.scope) if each not in places)
        able = (each for each in scope if len(inside[each]) > 1)
        around = next(able, "")
        ends = trace.modules.get(around, ((), ()))
        if around in detached:
            continue
        if around and len(inside[around]) <= _MOST_LAYERS and [*map(len, ends)] == [1, 1]:
            found.setdefault(around, []).append(name)
    return [
        RoundingUnit(
            name, tuple(dict.fromkeys(each)), trace.modules[name][0][0], trace.modules[name][1][0]
        )
        for name, each in found.items()
    ]


class _Left(BaseException):  # a network may catch each Exception
    """All that was wanted of a pass has been seen."""


@dataclass(frozen=True, slots=True)
class UnitValues:
    """What a block reads and is to write, image by image.

    Attributes:
        name: Of the block.
        reads: Of the compressed network.
        target: What the dense block writes, of the channels that are left.
    """

    name: str
    reads: Tensor
    target: Tensor

    @property
    def _learned(self) -> int:
        """How many images are learned from, the first ones."""
        return max(1, len(self.reads) - len(self.reads) // HELD_OUT)

    @property
    def learned_numbers(self) -> int:
        """Of the target, on the images that are learned from."""
        return self.target[: self._learned].numel()

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What is read and to be written of the images that are learned from."""
        reads, target = self.reads[: self._learned], self.target[: self._learned]
        return zip(reads.split(_TOGETHER), target.split(_TOGETHER), strict=True)

    def error(self, model: QuantizedModel, *, held: bool = False) -> float:
        """Mean squared error of the block's outputs on images that are learned from, or not."""
        here = slice(self._learned if len(self.reads) >= HELD_OUT else 0, None)
        here = here if held else slice(0, self._learned)
        found = self.run(model, self.reads[here])
        return float((found - self.target[here]).square().mean())

    def run(self, model: QuantizedModel, reads: Tensor) -> Tensor:
        """What the compressed network's block makes of it."""
        mode, written = FakeQuantizeMode(model.network, model.plan, model.qparams), []
        with mode.attached():
            for some in reads.split(_TOGETHER):
                mode.start()
                written.append(model.network.get_submodule(self.name)(some.clone()))
        return torch.cat(written)


class Watched:
    """Gives what blocks read and are to write, one after the other as they run.

    Args:
        candidate: What is finished, block by block.
        images: At most so many are looked at.
    """

    def __init__(self, candidate: Candidate, images: int) -> None:
        self._kept, self._parts = candidate.kept_outputs, candidate.features.parts
        self._dense = candidate.made_from.model
        #: Of modules that run in a layer's place, the layer.
        self._layers = {each.place: name for name, each in candidate.stand_ins.items()}
        self._images = min(images, self._parts.images)
        #: The last block, and what its dense one wrote, of all channels.
        self._last: tuple[RoundingUnit, UnitValues, Tensor] | None = None

    def values(self, unit: RoundingUnit, model: QuantizedModel) -> UnitValues | None:
        """What a block reads and is to write; None where it cannot be run by itself.

        Args:
            unit: The block.
            model: The network, finished as far as the block.
        """
        found = self._followed(unit, model) or self._entered(unit, model)
        self._last = None
        if found is None:
            return None
        reads, dense_reads = found
        with torch.no_grad():
            block = self._dense.get_submodule(unit.name)
            parts = [block(some.clone()) for some in dense_reads.split(_TOGETHER)]
        if not all(isinstance(each, Tensor) for each in parts):
            return None
        target = whole = torch.cat(parts)
        values = UnitValues(unit.name, reads, target)
        written = values.run(model, reads[:1])
        if written.shape[1:] != target.shape[1:]:
            chosen = self._chosen(unit, written.shape[1], target.shape[1])
            if chosen is None or written.shape[2:] != target.shape[2:]:
                return None
            target = target[:, chosen]
        values = UnitValues(unit.name, reads, target)
        self._last = unit, values, whole
        return values

    def _chosen(self, unit: RoundingUnit, left: int, channels: int) -> Tensor | None:
        """Which channels of the dense block's outputs are left."""
        for part in reversed(unit.layers):
            name = self._layer(part)
            kept = self._kept.get(name)
            module: Any = self._dense.get_submodule(name)
            if kept is not None and len(kept) == left and len(module.weight) == channels:
                return kept
        return None

    def _layer(self, part: str) -> str:
        """The dense network's layer in whose place a module runs, or itself."""
        around = (
            name for place, name in self._layers.items() if f"{part}.".startswith(f"{place}.")
        )
        return next(around, part)

    def _followed(self, unit: RoundingUnit, model: QuantizedModel) -> tuple[Tensor, Tensor] | None:
        """What the last block wrote, in both networks, where this one reads nothing else."""
        if self._last is None or self._last[0].writes != unit.reads:
            return None
        _, values, dense = self._last
        return values.run(model, values.reads), dense

    def _entered(self, unit: RoundingUnit, model: QuantizedModel) -> tuple[Tensor, Tensor] | None:
        """What enters a block in both networks."""
        mode = FakeQuantizeMode(model.network, model.plan, model.qparams)
        found = list[list[Tensor]]()
        for network, around in ((model.network, mode.attached), (self._dense, torch.no_grad)):
            parts, first, room = list[Tensor](), 0, self._images
            while first < room:
                here = slice(first, min(first + _TOGETHER, room))
                images = self._parts.read(here)
                with around():
                    entered = _entering(network, unit.name, images)
                if entered is None:
                    return None
                room = min(room, max(_LEAST, _MOST_BYTES // (3 * entered[:1].nbytes)))
                parts.append(entered.clone())
                first = here.stop
            found.append(parts)
        reads, dense = map(torch.cat, found)
        count = min(len(reads), len(dense))
        return reads[:count], dense[:count]


def _entering(network: nn.Module, name: str, images: Tensor) -> Tensor | None:
    """What enters a module; None where it is called with anything but one tensor."""
    seen: list[Tensor | None] = []

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        alone = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        seen.append(args[0] if alone else None)
        raise _Left

    handle = network.get_submodule(name).register_forward_pre_hook(stop, with_kwargs=True)
    try:
        network(images)
    except _Left:
        pass
    finally:
        handle.remove()
    found = seen[0] if seen else None
    return found if found is not None and found.shape[0] == images.shape[0] else None
