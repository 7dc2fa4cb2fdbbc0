"""What the dense network does on the calibration images: inputs' second moments, targets to aim at.

No labels, no gradients. Places are sampled, the same ones for a layer's inputs and for its target,
and the images go through in batches, so memory grows with neither the resolution nor the images.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from automl.compression.layer_matrix import (
    input_rows,
    is_transposed,
    matrix,
    output_rows,
    places,
)
from automl.compression.memory import ImageParts, Images, MemoryPlan, check_memory
from automl.compression.moments import Moments, StreamedMoments, held_bytes
from automl.compression.resizing import resized
from automl.compression.sampling import Sampling, chosen_places
from automl.heap import give_back, reuse_freed
from automl.network import Address, Call, ForwardTracer, LeafCall, Trace, laid_out

Tensor = torch.Tensor
#: Kinds of layers with weights that read channels.
WEIGHTED = ("conv", "conv_transpose", "linear")
INPUT: Address = ("", -1)  #: the address of the network's own input
#: Images that go through the network together where memory would allow more.
_BATCH = 128


@dataclass(frozen=True, slots=True)
class Aim:
    """What a layer's refit aims at.

    Attributes:
        target: Where the dense value stands: the layer's own output, or that of the addition which
            it ends in.
        parts: How many times the layer's leading extent is the number of images: windows, frames.
        shortcut: The addition's other operand (a value number), already computed when the layer
            runs; None where the target is the layer's own output.
        rectified: Whether nothing but a ReLU reads the target, so that how far below zero it lies
            does not matter.
    """

    target: Address
    parts: int = 1
    shortcut: int | None = None
    rectified: bool = False


def aims_of(trace: Trace) -> dict[str, Aim]:
    """The aim of every weighted layer that runs once, in network order.

    The layer that runs last before an addition aims at the sum minus the other operand, so that
    it corrects what the compressed network's shortcut got wrong as well.
    """
    users = trace.users()
    order = {value: i for i, call in enumerate(trace.calls) for value in call.outputs}
    uses = trace.uses()
    result = {}
    for position, call in enumerate(trace.calls):
        if call.step.op not in WEIGHTED or uses[call.step.module] > 1:
            continue
        parts = call.in_shapes[0][0]  # recorded on one image
        if parts > 1 and call.step.op != "linear":
            continue  # frames of a video: which image a row is of would have to be followed
        readers = users.get(call.outputs[0], [])
        result[call.step.module] = Aim(call.step.address, parts, None, _rectified(readers))
        if len(readers) != 1 or readers[0].step.op.rstrip("_") != "add":
            continue
        total = readers[0]
        others = [value for value in total.inputs if value != call.outputs[0]]
        same = total.in_shapes[0] == total.in_shapes[-1] and len(total.inputs) == 2
        if same and len(others) == 1 and order.get(others[0], -1) < position:
            after = _rectified(users.get(total.outputs[0], []))
            result[call.step.module] = Aim(total.step.address, parts, others[0], after)
    return result


def _rectified(readers: list[Call]) -> bool:
    return bool(readers) and all(call.step.op.rstrip("_") == "relu" for call in readers)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of features: what is kept of the first images alone.

    Attributes:
        images: How many images.
        rows: How many rows of each layer, at most; one an image at least.
    """

    images: int
    rows: int

    def places(self, chosen: Tensor) -> Tensor:
        """Of sampled places [images, places] those within the excerpt."""
        chosen = chosen[: self.images]
        return chosen[:, : max(1, self.rows // chosen.shape[0])]


@dataclass(slots=True)
class _Gathered:
    """Rows of images that come batch by batch, in a tensor that is there from the first on.

    Kept piece by piece they would lie between what each batch leaves, and no batch would find room
    where the one before was.

    Attributes:
        images: How many there will be.
    """

    images: int
    _rows: Tensor | None = None
    _count: int = 0

    def add(self, rows: Tensor, images: int) -> None:
        """The rows of the next images; each image gives as many."""
        if not images:
            return
        if self._rows is None:
            each = rows.shape[0] // images
            self._rows = rows.new_empty((each * self.images, *rows.shape[1:]))
        self._rows[self._count : self._count + rows.shape[0]] = rows
        self._count += rows.shape[0]

    @property
    def rows(self) -> Tensor | None:
        """Those of all images so far; None where there are none."""
        return None if self._rows is None else self._rows[: self._count]


@dataclass(slots=True)
class Features:
    """What the dense network's walk over the calibration images left behind.

    Attributes:
        parts: The images, as they go through the network.
        moments: Per weighted layer, those of its inputs; none in an excerpt.
        targets: Per weighted layer, dense values to aim at: [images x places, channels].
        chosen: Per weighted layer, the sampled places of its images, the first ones of all:
            [images, places].
        aims: Per weighted layer.
    """

    parts: ImageParts
    moments: Mapping[str, Moments]
    targets: dict[str, Tensor]
    chosen: dict[str, Tensor]
    aims: dict[str, Aim]

    @property
    def images(self) -> Tensor:
        """All images at the resolution of the features; of many, memory is needed for them."""
        return self.parts.read(slice(0, self.parts.images))

    def let_go(self) -> None:
        """Drop the moments; they are collected again where somebody asks for them."""
        if isinstance(self.moments, StreamedMoments):
            self.moments.let_go()

    def tighten(self) -> None:
        """Hold half as much of the moments from here on: channels are ranked, the most is done."""
        if isinstance(self.moments, StreamedMoments):
            self.moments.tighten(self.moments.limit // 2)

    def hold(self, names: Collection[str]) -> None:
        """Have the moments of some layers at hand together: one walk for all of them."""
        if isinstance(self.moments, StreamedMoments):
            self.moments.hold(names)


def collect(
    model: nn.Module,
    trace: Trace,
    images: Images,
    *,
    plan: MemoryPlan | None = None,
    resolution: int = 0,
    seed: int = 0,
    excerpt: Excerpt | None = None,
) -> Features:
    """Walk the dense network over the calibration images.

    Args:
        model: The dense network, batch norms folded.
        trace: Its recorded pass.
        images: Calibration inputs.
        plan: What is held at once; None for that of the usual limit.
        resolution: That the images are shown at; 0 for their own.
        seed: Of the sampled places.
        excerpt: Collect so much of the targets, the same values, and no moments; None for all.

    Raises:
        UsageError: The second moments of a layer do not fit the limit; says what is needed.
    """
    reuse_freed()
    plan, count = plan or MemoryPlan(trace), images.shape[0]

    # drawn: where a layer sees the first of them alone, these are not all of one class
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))

    def read(here: slice) -> Tensor:
        give_back(plan.full_bytes)
        return laid_out(model, resized(images[order[here]], resolution))

    aims, parts = aims_of(trace), plan.parts(read, count)
    sampling = Sampling(model, trace, plan, parts, seed)
    seen = count if excerpt is None else min(count, excerpt.images)
    step = min(_BATCH, plan.batch)
    batches = [slice(first, min(first + step, seen)) for first in range(0, seen, step)]
    if excerpt is not None:
        collector = _Collector(model, aims, sampling, (), aims, excerpt)
        collector.walk(read, batches)
        return Features(parts.first(seen), {}, collector.targets, collector.chosen, aims)

    def collected(names: Collection[str]) -> dict[str, Moments]:
        return _Collector(model, aims, sampling, names, ()).walk(read, batches)

    moments = StreamedMoments(_sizes(model, aims, plan), plan.moments_bytes, collected)
    collector = _Collector(model, aims, sampling, moments.fitting(), aims)
    moments.put(collector.walk(read, batches))
    for name in [name for name in moments if name not in aims]:
        moments.drop(name)
    return Features(parts, moments, collector.targets, collector.chosen, aims)


def laid_out_for(model: nn.Module, features: Features) -> Features:
    """Features whose images are shown as they had best lie for another network than the dense."""
    read = features.parts.read
    shown = replace(features.parts, read=lambda here: laid_out(model, read(here)))
    return replace(features, parts=shown)


def _sizes(model: nn.Module, names: Collection[str], plan: MemoryPlan) -> dict[str, int]:
    """Bytes of the moments of some layers.

    Raises:
        UsageError: Those of a layer do not fit the limit.
    """
    found = {}
    for name in names:
        runs, _, columns = matrix(model.get_submodule(name)).shape
        found[name] = held_bytes(runs, columns + 1)
        check_memory(plan.memory, 2 * found[name], f"the second moments of {name}")
    return found


class _Collector(ForwardTracer):
    """Collects the moments and the targets of some layers, batch by batch."""

    def __init__(
        self,
        model: nn.Module,
        aims: dict[str, Aim],
        sampling: Sampling,
        moments: Collection[str],
        targets: Collection[str],
        excerpt: Excerpt | None = None,
    ) -> None:
        super().__init__(model)
        self._aims, self._sampling, self._excerpt = aims, sampling, excerpt
        self._here = slice(0, 0)
        self._wanted = set(moments)
        self._moments: dict[str, Moments] = {}
        self._draws = {name: sampling.draws(name) for name in {*moments, *targets}}
        self._by_target: dict[Address, list[str]] = {}
        for name in targets:
            self._by_target.setdefault(aims[name].target, []).append(name)
        self._rows: dict[str, _Gathered] = {}
        self._places: dict[str, _Gathered] = {}
        #: Places of the images that go through now.
        self._here_places: dict[str, Tensor] = {}
        self._aiming = tuple(targets)
        self.targets: dict[str, Tensor] = {}
        self.chosen: dict[str, Tensor] = {}

    def walk(self, read: Callable[[slice], Tensor], batches: Sequence[slice]) -> dict[str, Moments]:
        """Run the network over the images; the moments, the targets are kept."""
        for name in self._aiming:
            images = min(self._sampling.aimed(name), batches[-1].stop)
            self._rows[name], self._places[name] = _Gathered(images), _Gathered(images)
        with self.attached():
            for here in batches:
                self._here = here
                self.start()
                self._model(read(here))
        for name, gathered in self._rows.items():
            rows, places_ = gathered.rows, self._places[name].rows
            if rows is not None:
                self.targets[name] = rows
            if places_ is not None and name in self._aims:
                self.chosen[name] = places_
        return {name: found for name, found in self._moments.items() if name in self._aims}

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        name = step.module
        aim = self._aims.get(name)
        if aim is None or step.op not in WEIGHTED or name not in self._draws:
            return
        images = self._here.stop - self._here.start
        if args[0].shape[0] != aim.parts * images:
            del self._aims[name]  # images do not come first: sequences that do
            return
        total = places(module, tuple(args[0].shape), images)
        ranked = self._sampling.moments(name, total) if name in self._wanted else 0
        aimed = self._aimed(name, total) if name in self._places else 0
        # as many as either takes are drawn: whoever asks for fewer has the first of these
        drawn = chosen_places(self._draws[name], images, total, max(ranked, aimed))
        if name in self._places:
            left = max(0, self._sampling.aimed(name) - self._here.start)
            here = self._here_places[name] = drawn[:left, :aimed]
            self._places[name].add(here, here.shape[0])
        if ranked:
            self._add(name, input_rows(module, args[0], drawn[:, :ranked]))

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        for name in self._by_target.get(step.address, ()):
            if name not in self._aims:
                continue
            if kwargs.get("alpha", 1) != 1:
                del self._aims[name]  # the sum is not of the operands as they are
                continue
            module = self._model.get_submodule(name)
            here = self._here_places.pop(name)
            if is_transposed(module) or not here.shape[0]:
                continue
            images = self._here.stop - self._here.start
            read = (
                output
                if here.shape[0] == images
                else output[: here.shape[0] * self._aims[name].parts]
            )
            rows = output_rows(read, here, isinstance(module, nn.Linear))
            self._rows[name].add(rows, here.shape[0])

    def _aimed(self, name: str, places: int) -> int:
        """How many of an image's places a layer's targets are kept at."""
        count = self._sampling.targets(name, places)
        if self._excerpt is None:
            return count
        images = min(self._sampling.aimed(name), self._excerpt.images)
        return min(count, max(1, self._excerpt.rows // images))

    def _add(self, name: str, rows: Tensor) -> None:
        if name not in self._moments:
            extent = rows.shape[2] + 1
            self._moments[name] = Moments.none(rows.shape[1], extent)
        self._moments[name].add(rows)
