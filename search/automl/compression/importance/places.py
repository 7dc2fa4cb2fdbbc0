"""Where a group's channels lie: in what its readers read, or in the ReLU's output behind that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from automl.network import Address, Call, ChannelGroup, LeafCall, Side, Trace, base_name, names

Tensor = torch.Tensor
#: Operations that leave a channel one, so that what was rectified before them is what is read.
_PASSED: Final = names(
    "view _unsafe_view reshape permute transpose t expand slice select squeeze unsqueeze detach "
    "alias clone flatten _reshape_alias movedim unflatten dropout native_dropout cat "
    "constant_pad_nd max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d mean"
)
#: ReLUs by the place of the bound that has to be 0 among their arguments; relu itself has none.
_BOUNDED: Final[Mapping[str, int]] = {"hardtanh": 1, "clamp": 1, "clamp_min": 1, "threshold": 1}


@dataclass(frozen=True, slots=True)
class ChannelPlace:
    """A value of the network in which a group's channels lie.

    Attributes:
        address: The operation that writes it, or reads it first.
        written: Whether the operation writes it.
        dims: Dimensions along which channels lie.
        positions: [channels, places of each], along these dimensions, flattened.
        rectified: Whether a ReLU wrote it.
    """

    address: Address
    written: bool
    dims: tuple[int, ...]
    positions: Tensor
    rectified: bool = False


def places_of(group: ChannelGroup, trace: Trace) -> tuple[ChannelPlace, ...]:
    """The values that say what a group's channels are, each once.

    For each matrix that reads the channels: the outputs of the ReLU behind it, where nothing but
    pools, views and joins are between them; else what it reads. Of channels that are multiplied
    with each other, what is multiplied. Several readers of a residual stream read several values.
    """
    finder = _Finder(group, trace)
    found = [place for side in group.consumers for place in finder.read(side)]
    pairs = [side for pair in group.pairs for side in (pair.left, pair.right)]
    found += [place for side in pairs for place in finder.written(side)]
    return tuple({(place.address, place.written): place for place in found}.values())


def is_relu(call: Call) -> bool:
    """Whether an operation is zero for all that is negative, and no more than a bound above."""
    op = base_name(call.step.op)
    if op == "relu":
        return True
    at = _BOUNDED.get(op)
    return at is not None and len(call.arguments) > at and call.arguments[at] == 0


def by_channel(value: Tensor, place: ChannelPlace, images: int) -> Tensor:
    """A value as [images, channels, numbers of each], images being its leading parts."""
    split = value.reshape(images, -1, *value.shape[1:])
    dims = [dim + 1 for dim in place.dims]
    lined = (
        split.movedim(tuple(dims), tuple(range(1, len(dims) + 1))).flatten(1, len(dims)).flatten(2)
    )
    if place.positions.shape[1] == 1:
        whole = lined.shape[1] == place.positions.shape[0]
        straight = whole and bool((place.positions.flatten().diff() == 1).all())
        return lined if straight else lined[:, place.positions.flatten()]
    return lined[:, place.positions].flatten(2)


class _Finder:
    def __init__(self, group: ChannelGroup, trace: Trace) -> None:
        self._trace, self._producers = trace, trace.producers()
        self._channels = group.channels
        self._of: dict[int, int] = {}  # class of labels -> channel
        sides = (*group.consumers, *group.producers)
        for side in sides:
            labels = trace.bindings.get((side.module, side.side))
            if labels is None:
                continue
            roots = trace.union.roots(labels)
            for channel, positions in enumerate(side.positions):
                self._of |= dict.fromkeys((int(roots[at]) for at in positions), channel)

    def read(self, side: Side) -> Iterator[ChannelPlace]:
        """Behind the readers of a side's module, or what they read."""
        for call in self._trace.calls:
            if call.step.module != side.module or not call.inputs:
                continue
            rectified = list(self._rectified(call.inputs[0]))
            if rectified:
                yield from rectified
            else:
                yield from self._place(call.step, False, call.in_labels, call.in_dims)

    def written(self, side: Side) -> Iterator[ChannelPlace]:
        """What a side's module writes."""
        for call in self._trace.calls:
            if call.step.module == side.module:
                yield from self._place(call.step, True, call.out_labels, call.out_dims)

    def _rectified(self, value: int) -> Iterator[ChannelPlace]:
        call = self._producers.get(value)
        if call is None or call.outputs[0] != value:
            return
        if is_relu(call):
            yield from self._place(call.step, True, call.out_labels, call.out_dims, True)
        elif base_name(call.step.op) in _PASSED:
            for before in call.inputs:
                yield from self._rectified(before)

    def _place(
        self,
        step: LeafCall,
        written: bool,
        labels: Tensor,
        dims: Sequence[int],
        rectified: bool = False,
    ) -> Iterator[ChannelPlace]:
        """The value's place; none where it lacks some channels, or has some more often."""
        at: list[list[int]] = [[] for _ in range(self._channels)]
        for position, root in enumerate(self._trace.union.roots(labels).tolist()):
            if root in self._of:
                at[self._of[root]].append(position)
        if at[0] and dims and 0 not in dims and len({len(each) for each in at}) == 1:
            yield ChannelPlace(step.address, written, tuple(dims), torch.tensor(at), rectified)
