"""From labels to channel groups: classes of channels that every tensor treats alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from automl.network.constants import axis_of
from automl.network.labels import COUNTED, OUTPUT, TOGETHER
from automl.network.layers import ChannelGroup, ChannelPair, Side, Unprunable, Width
from automl.network.maxout import is_of_pieces
from automl.network.over_channels import is_maximum, is_over
from automl.network.pairs import ChannelPairs
from automl.network.recorded import Trace
from automl.network.sizes import is_size, size_side

#: Where a channel appears: (module or operation, side).
Slot = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Unit:
    """One channel of a group to be: a class of labels, and every place that it takes.

    Attributes:
        root: The class.
        slots: Per place, the number of its slot; ascending.
        places: Where along that slot.
        signature: Equal for channels that may share a group: of one kind (channels, heads, places
            within heads), as often in the same slots.
    """

    root: int
    slots: NDArray[np.int64]
    places: NDArray[np.int64]
    signature: tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Channel groups, and how each recorded width depends on them.

    Attributes:
        groups: In the order in which their first producers run.
        member: Class of a label -> name of its group.
        unprunable: Producers whose channels stay, with the reason; the network's output goes
            unsaid.
        names: Which groups channels may go with: none, their own, or their heads' and places'.
        kinds: By class of a label, which of `names` it is.
    """

    groups: tuple[ChannelGroup, ...]
    member: Mapping[int, str]
    unprunable: tuple[Unprunable, ...]
    names: tuple[tuple[str, ...], ...]
    kinds: NDArray[np.int64]

    def width(self, roots: NDArray[np.int64]) -> Width:
        """The width of a tensor whose channels have these classes.

        What goes with both heads and places is there as often as the two together say.
        """
        kinds, first, counts = np.unique(self.kinds[roots], return_index=True, return_counts=True)
        sizes = {group.name: group.channels for group in self.groups}
        fixed, parts, products = 0, [], []
        for at in first.argsort():
            name, n = self.names[kinds[at]], int(counts[at])
            if not name:
                fixed = n
            elif len(name) == 1:
                parts.append((name[0], n // sizes[name[0]]))
            else:
                both = (name[0], name[1])
                products.append((both, n // (sizes[both[0]] * sizes[both[1]])))
        return Width(fixed, tuple(parts), tuple(products))


def group_channels(
    trace: Trace, widths: Mapping[Slot, torch.Tensor], refused: Mapping[str, str] | None = None
) -> Grouping:
    """Group the channels of a trace.

    Args:
        trace: The recorded pass.
        widths: Labels along tensors that are priced; channels that differ in where they appear
            cannot share a group, for then a count would not tell a width.
        refused: Groups that were tried and broke the network: name -> reason.
    """
    refused = refused or {}
    slots, units = _units(trace, widths)
    by_signature: dict[tuple[int, bytes], list[_Unit]] = {}
    reasons: dict[str, str] = {}
    for unit in units:
        why = trace.union.unprunable(unit.root)
        if why is None:
            by_signature.setdefault(unit.signature, []).append(unit)
        elif why != OUTPUT:
            for slot in dict.fromkeys(unit.slots.tolist()):
                if slots[slot][1] == "out":
                    reasons.setdefault(slots[slot][0], why)
    pairs = ChannelPairs(trace)
    groups: list[ChannelGroup] = []
    member: dict[int, str] = {}
    taken: Counter[str] = Counter()
    for alike in by_signature.values():
        roots = [unit.root for unit in alike]
        group = _group(trace, slots, alike, taken, pairs.of(roots))
        if group is None:
            reasons |= _alone(slots, alike[0], reasons, len(roots) == 1)
            continue
        if group.name in refused:
            reasons[group.name] = refused[group.name]
            continue
        groups.append(group)
        member |= dict.fromkeys(roots, group.name)
    unprunable = tuple(Unprunable(name, reason) for name, reason in reasons.items() if reason)
    return Grouping(tuple(groups), member, unprunable, *_kinds(trace, member))


def _kinds(
    trace: Trace, member: Mapping[int, str]
) -> tuple[tuple[tuple[str, ...], ...], NDArray[np.int64]]:
    """Which groups each class goes with, as `Grouping` has it."""
    names: dict[tuple[str, ...], int] = {(): 0}
    kinds = np.zeros(len(trace.union), dtype=np.int64)
    for root, name in member.items():
        kinds[root] = names.setdefault((name,), len(names))
    for root, both in trace.heads.cells.items():
        own = tuple(member[unit] for unit in map(trace.union.root, both) if unit in member)
        kinds[root] = names.setdefault(own, len(names))
    return tuple(names), kinds


def _units(trace: Trace, widths: Mapping[Slot, torch.Tensor]) -> tuple[list[Slot], list[_Unit]]:
    """All slots, and the units in the order in which they come in them."""
    sizes = [
        ((name, size_side(call, dim, line.numel())), line)
        for (name, call, dim), line in trace.sizes.lines(trace.heads)
    ]
    lines: dict[Slot, list[torch.Tensor]] = {}
    for slot, labels in (*trace.bindings.items(), *sizes, *widths.items()):
        lines.setdefault(slot, []).append(labels)
    both = np.zeros((len(trace.union), 2), dtype=np.int64)
    for root, cell in trace.heads.cells.items():
        both[root] = [trace.union.root(label) for label in cell]
    found = []  # rows: unit, kind, slot, place
    for number, several in enumerate(lines.values()):
        for labels in several:
            roots = trace.union.roots(labels)
            found.append(_rows(roots, both, number))
    return list(lines), _sorted(np.concatenate(found, axis=1) if found else np.zeros((4, 0), int))


def _rows(roots: NDArray[np.int64], both: NDArray[np.int64], slot: int) -> NDArray[np.int64]:
    """Per channel its unit, or its head and its place, with their kind and where they are."""
    places = np.flatnonzero(roots)
    roots = roots[places]
    cells = both[roots]
    gridded = cells[:, 0] != 0
    times = 1 + gridded
    where = np.repeat(places, times)
    units, kinds = np.repeat(roots, times), np.repeat(gridded * 2, times)
    heads = np.cumsum(times)[gridded] - 2
    units[heads], units[heads + 1] = cells[gridded].T
    kinds[heads + 1] = 3
    return np.stack([units, kinds, np.full(len(units), slot), where])


def _sorted(rows: NDArray[np.int64]) -> list[_Unit]:
    order = np.argsort(rows[0], kind="stable")
    units, kinds, slots, places = rows[:, order]
    starts = np.flatnonzero(np.diff(units, prepend=-1))
    ends = np.append(starts[1:], len(units))
    found = [
        _Unit(
            int(units[start]),
            slots[start:end],
            places[start:end],
            (int(kinds[start]), slots[start:end].tobytes()),
        )
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    return [found[at] for at in np.argsort(order[starts], kind="stable").tolist()]


def _alone(
    slots: Sequence[Slot], unit: _Unit, known: Mapping[str, str], single: bool
) -> dict[str, str]:
    """Producers of channels which can only go all at once, or which statistics alone read."""
    counts = Counter(slots[slot] for slot in unit.slots.tolist())
    outputs = {module: count for (module, side), count in counts.items() if side == "out"}
    found = {module: TOGETHER for module, count in outputs.items() if single and count > 1}
    if any(is_over(side) for _, side in counts):
        found = dict.fromkeys(outputs, COUNTED) | found
    return {module: why for module, why in found.items() if module not in known}


def _group(
    trace: Trace,
    slots: Sequence[Slot],
    units: Sequence[_Unit],
    taken: Counter[str],
    pairs: tuple[ChannelPair, ...],
) -> ChannelGroup | None:
    if len(units) < 2:
        return None
    places = np.stack([unit.places for unit in units])
    sides, sizes = list[Side](), list[Side]()
    for number in dict.fromkeys(units[0].slots.tolist()):
        module, kind = slots[number]
        named = is_size(kind) or is_over(kind)
        if named or kind in ("in", "out", "through") or axis_of(kind) is not None:
            along = places[:, units[0].slots == number].tolist()
            (sizes if named else sides).append(Side(module, kind, tuple(map(tuple, along))))
    producers = tuple(side for side in sides if side.side != "in")
    consumers = tuple(side for side in sides if side.side == "in")
    outputs = [side for side in producers if side.side == "out"]
    pieces = any(is_maximum(side.side) for side in sizes)
    others = len(outputs) < len(producers) or bool(consumers or pairs)
    if not outputs or (pieces and not is_of_pieces(trace, outputs, others)):
        return None
    if not (pieces or consumers or pairs):
        return None
    maxout = len(outputs[0].positions[0]) if pieces else 0
    name = outputs[0].module
    taken[name] += 1
    if taken[name] > 1:
        name = f"{name}#{taken[name]}"
    together = _run(outputs[0].positions[0])
    return ChannelGroup(
        name, len(units), producers, consumers, 1, together, tuple(sizes), pairs, maxout
    )


def _run(positions: Sequence[int]) -> int:
    """How many of some ascending positions follow the first without a gap."""
    return sum(place == positions[0] + number for number, place in enumerate(positions))
