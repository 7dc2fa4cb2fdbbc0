"""What is known of a group's channels beside the matrices that read them, when it is asked for.

Groups are asked for in network order. What one walk over the images gives is kept of as many groups
as fit the share of memory that a refit holds later; then it makes room for that of the groups that
follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Generic, Literal, TypeVar

import torch

from automl.compression.importance.objectives import label_loss, projected
from automl.compression.importance.places import places_of
from automl.compression.importance.walks import (
    GradientWalk,
    Pooled,
    PoolingWalk,
    images_first,
    input_place,
    read_by,
    readings_of,
)
from automl.compression.importance.writers import filters_of, norm_scales_of
from automl.compression.memory import Images, MemoryPlan, check_memory
from automl.compression.statistics import Features
from automl.errors import UsageError
from automl.network import ChannelGroup, TracedModel, column_scales, output_rows, smaller
from automl.userdata import in_passes

Tensor = torch.Tensor
T = TypeVar("T")
#: Most images that go through the network together.
_BATCH: Final = 128
#: Images on which whole networks are compared, and outputs scaled.
_COMPARED: Final = 64
_NUMBER: Final = 4


class ChannelStatistics:
    """Of the dense network on the calibration inputs.

    Args:
        traced: The network.
        features: Gives its features, when they are asked for.
        images: Calibration inputs.
        targets: What is right for each; None where nobody knows.
        plan: What may be held.
        seed: Of all that is drawn.

    Attributes:
        traced: As given.
        seed: As given.
    """

    def __init__(
        self,
        traced: TracedModel,
        features: Callable[[], Features],
        images: Images,
        *,
        targets: Tensor | None = None,
        plan: MemoryPlan | None = None,
        seed: int = 0,
    ) -> None:
        self.traced, self.seed = traced, seed
        self._features, self._images, self._targets = features, images, targets
        self._plan = plan or MemoryPlan(traced.trace)
        groups = [group for group in traced.network.groups if not group.units]
        self._pooled = _ByGroup(groups, self._pooled_bytes, self._plan.held_bytes, self._pool)
        self._slopes = {
            of: _ByGroup(groups, self._row_bytes, self._plan.held_bytes, self._differentiated(of))
            for of in ("loss", "logits")
        }

    @property
    def features(self) -> Features:
        """Second moments of what layers read, and targets to aim at."""
        return self._features()

    @property
    def targets(self) -> Tensor:
        """What is right for each calibration input: class indices, or pictures.

        Raises:
            UsageError: Nobody knows.
        """
        if self._targets is None:
            raise UsageError("the calibration inputs have no labels", options=("data",))
        return self._targets

    def activations(self, group: ChannelGroup) -> tuple[Pooled, ...]:
        """The group's channels pooled over an image's places, in each value that is read of them.

        None where channels cannot be told apart in what is read.
        """
        return self._pooled.get(group.name)

    def gradients(self, group: ChannelGroup, of: Literal["loss", "logits"]) -> Tensor:
        """What an image's objective makes of each channel, to first order: [images, channels].

        Sums over readers and places of the value that is read times the objective's gradient.

        Args:
            group: Whose channels.
            of: The loss on the labels, or a projection of the outputs, drawn for each image, each
                tensor of them relative to the root of its variance.

        Raises:
            UsageError: There are no labels, or no gradient.
        """
        return self._slopes[of].get(group.name)

    def norm_scales(self, group: ChannelGroup) -> tuple[Tensor, ...]:
        """Weights of the batch norms that write the group's channels: each [channels]."""
        return norm_scales_of(group, self.traced)

    def filters(self, group: ChannelGroup, *, biases: bool = False) -> tuple[Tensor, ...]:
        """Weights by which each layer writes a channel, its bias last: each [channels, numbers]."""
        return filters_of(group, self.traced.model, biases=biases)

    def inputs(self, modules: Sequence[str], most: int) -> list[Tensor]:
        """What modules read of the first calibration inputs, images first, as many as fit.

        Args:
            modules: Convolutions and linear layers, by name.
            most: Most inputs.
        """
        model, total = self.traced.model, self._images.shape[0]
        one = read_by(model, modules, self._images[:1], 1)
        each = sum(value.nbytes for value in one)
        count = max(1, min(most, total, self._plan.held_bytes // max(1, 3 * each)))
        places = {name: [input_place(model, name)] for name in modules}
        first = total > 1 and images_first(model, places, self._images[:2])
        step = min(_BATCH, self._plan.batch) if first else 1
        slices = [slice(at, min(at + step, count)) for at in range(0, count, step)]
        parts = [
            read_by(model, modules, self._images[here], here.stop - here.start) for here in slices
        ]
        return [torch.cat(values) for values in zip(*parts, strict=True)]

    def shown(self, most: int) -> Iterator[tuple[slice, Tensor]]:
        """The calibration inputs, at most so many at once, and which they are."""
        count, step = self._images.shape[0], min(most, self._plan.batch, _BATCH)
        for first in range(0, count, step):
            here = slice(first, min(first + step, count))
            yield here, self._images[here]

    def let_go(self) -> None:
        """Drop what was collected; it is collected again where somebody asks for it."""
        self._pooled.let_go()
        for slopes in self._slopes.values():
            slopes.let_go()

    def output_error(self, group: ChannelGroup, kept: Tensor) -> float:
        """Squared error of the outputs where some channels of a group stay alone, others whole.

        Nothing is compensated. Relative to the outputs' variance, on a few of the images.

        Args:
            group: Whose channels go.
            kept: Ascending indices of those that stay.
        """
        images, dense, scales = self._dense
        groups = self.traced.network.groups
        model = smaller(self.traced.model, groups, {group.name: kept}, shared=True)
        with torch.no_grad():
            rows = output_rows(in_passes(model, images), len(images))
        return float(((rows - dense).square() / scales).mean())

    @cached_property
    def _dense(self) -> tuple[Tensor, Tensor, Tensor]:
        images = self._images[: min(_COMPARED, self._images.shape[0])]
        with torch.no_grad():
            whole = in_passes(self.traced.model, images)
        return images, output_rows(whole, len(images)), column_scales(whole, len(images))

    def _row_bytes(self, group: ChannelGroup) -> int:
        return _NUMBER * self._images.shape[0] * group.channels

    def _pooled_bytes(self, group: ChannelGroup) -> int:
        return 4 * self._row_bytes(group) * max(1, len(places_of(group, self.traced.trace)))

    def _pool(self, groups: Sequence[ChannelGroup]) -> dict[str, tuple[Pooled, ...]]:
        places = {group.name: places_of(group, self.traced.trace) for group in groups}
        model = self.traced.model
        most = _BATCH if images_first(model, places, self._images[:2]) else 1
        return PoolingWalk(model, places).walk(lambda: self.shown(most))

    def _differentiated(self, of: str) -> Callable[[Sequence[ChannelGroup]], Mapping[str, Tensor]]:
        def collect(groups: Sequence[ChannelGroup]) -> Mapping[str, Tensor]:
            model = self.traced.model
            readings = [each for group in groups for each in readings_of(model, group)]
            places = {name: [each.place for each in readings] for name in ("all",)}
            most = _BATCH if images_first(model, places, self._images[:2]) else 1
            most = min(most, self._tracked)
            found = GradientWalk(model, readings).walk(
                lambda: self.shown(most), self._objective(of)
            )
            lacking = [group.name for group in groups if group.name not in found]
            if lacking:
                raise UsageError(
                    f"the outputs have no gradient with respect to what {lacking[0]} writes"
                )
            return found

        return collect

    def _objective(self, of: str) -> Callable[[Any, slice], Tensor]:
        if of == "loss":
            targets = self.targets
            return lambda outputs, here: label_loss(outputs, targets[here])
        return lambda outputs, here: projected(outputs, here, self._dense[2], self.seed)

    @cached_property
    def _tracked(self) -> int:
        """How many images fit with all their values and the gradients of these."""
        numbers = sum(
            math.prod(shape) for call in self.traced.trace.calls for shape in call.out_shapes
        )
        each = math.ceil(2 * _NUMBER * numbers * self._plan.scale)
        fit = self._plan.held_bytes // max(1, each)
        if not fit:
            share = self._plan.memory // max(1, self._plan.held_bytes)
            check_memory(self._plan.memory, each * (share + 1), "one image's values and gradients")
        return max(1, fit)


class _ByGroup(Generic[T]):
    """What is collected of groups, as many at once as fit from the first that is missing on."""

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        size: Callable[[ChannelGroup], int],
        limit: int,
        collect: Callable[[Sequence[ChannelGroup]], Mapping[str, T]],
    ) -> None:
        self._groups, self._size, self._limit, self._collect = groups, size, limit, collect
        self._found: Mapping[str, T] = {}

    def let_go(self) -> None:
        """Keep nothing."""
        self._found = {}

    def get(self, name: str) -> T:
        """Of a group."""
        if name not in self._found:
            self._found = {}
            first = next(at for at, each in enumerate(self._groups) if each.name == name)
            chosen, room = [self._groups[first]], self._limit - self._size(self._groups[first])
            for group in self._groups[first + 1 :]:
                room -= self._size(group)
                if room < 0:
                    break
                chosen.append(group)
            self._found = self._collect(chosen)
        return self._found[name]
