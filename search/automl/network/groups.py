"""From labels to channel groups: classes of channels that every tensor treats alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from automl.network.constants import axis_of
from automl.network.heads import Heads
from automl.network.labels import COUNTED, OUTPUT, TOGETHER
from automl.network.layers import ChannelGroup, ChannelPair, Side, Unprunable, Width
from automl.network.over_channels import is_over
from automl.network.pairs import ChannelPairs
from automl.network.sizes import is_size, size_side
from automl.network.trace import Trace

#: Where a channel appears: (module or operation, side).
Slot = tuple[str, str]


@dataclass(slots=True)
class _Unit:
    """One channel of a group to be: a class of labels, and every place that it takes.

    Attributes:
        kind: Tells channels, heads and places within heads from each other.
    """

    kind: int
    slots: dict[Slot, list[int]] = field(default_factory=dict)

    def signature(self) -> tuple[tuple[Slot, int], ...]:
        places = ((slot, len(places)) for slot, places in self.slots.items())
        return ((("", ""), self.kind), *places)


@dataclass(frozen=True, slots=True)
class Grouping:
    """Channel groups, and how each recorded width depends on them.

    Attributes:
        groups: In the order in which their first producers run.
        member: Class of a label -> name of its group.
        heads: Which classes are of heads and of places in them.
        unprunable: Producers whose channels stay, with the reason; the network's output goes
            unsaid.
    """

    groups: tuple[ChannelGroup, ...]
    member: Mapping[int, str]
    heads: Heads
    unprunable: tuple[Unprunable, ...]

    def width(self, roots: NDArray[np.int64]) -> Width:
        """The width of a tensor whose channels have these classes."""
        counts = Counter(self._names(int(root)) for root in roots)
        sizes = {group.name: group.channels for group in self.groups}
        parts = [(*name, n // sizes[name[0]]) for name, n in counts.items() if len(name) == 1]
        products = [
            (name, n // (sizes[name[0]] * sizes[name[1]]))
            for name, n in counts.items()
            if len(name) == 2
        ]
        return Width(counts[()], tuple(parts), tuple(products))

    def _names(self, root: int) -> tuple[str, ...]:
        """The groups that a class of channels goes with: none, its own, or its heads' and places'.

        What goes with both is there as often as the two together say.
        """
        return tuple(self.member[unit] for unit in self.heads.units(root) if unit in self.member)


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
    units = _units(trace, widths)
    by_signature: dict[tuple[tuple[Slot, int], ...], list[int]] = {}
    reasons: dict[str, str] = {}
    for root, unit in units.items():
        why = trace.union.unprunable(root)
        if why is None:
            by_signature.setdefault(unit.signature(), []).append(root)
        else:
            for module, side in unit.slots:
                if side == "out" and why != OUTPUT:
                    reasons.setdefault(module, why)
    pairs = ChannelPairs(trace)
    groups: list[ChannelGroup] = []
    member: dict[int, str] = {}
    taken: Counter[str] = Counter()
    for roots in by_signature.values():
        group = _group([units[root] for root in roots], taken, pairs.of(roots))
        if group is None:
            reasons |= _alone(units[roots[0]], reasons, len(roots) == 1)
            continue
        if group.name in refused:
            reasons[group.name] = refused[group.name]
            continue
        groups.append(group)
        member |= dict.fromkeys(roots, group.name)
    unprunable = tuple(Unprunable(name, reason) for name, reason in reasons.items() if reason)
    return Grouping(tuple(groups), member, trace.heads, unprunable)


def _units(trace: Trace, widths: Mapping[Slot, torch.Tensor]) -> dict[int, _Unit]:
    units: dict[int, _Unit] = {}
    sizes = [
        ((name, size_side(call, dim, line.numel())), line)
        for (name, call, dim), line in trace.sizes.lines(trace.heads)
    ]
    lines: Iterable[tuple[Slot, torch.Tensor]] = (*trace.bindings.items(), *sizes, *widths.items())
    for slot, labels in lines:
        for place, root in enumerate(trace.union.roots(labels).tolist()):
            both = trace.heads.units(root) if root else ()
            for number, unit in enumerate(both):
                found = units.setdefault(unit, _Unit(number + len(both)))
                found.slots.setdefault(slot, []).append(place)
    return units


def _alone(unit: _Unit, known: Mapping[str, str], single: bool) -> dict[str, str]:
    """Producers of channels which can only go all at once, or which statistics alone read."""
    outputs = {module: at for (module, side), at in unit.slots.items() if side == "out"}
    found = {module: TOGETHER for module, at in outputs.items() if single and at[1:]}
    if any(is_over(side) for _, side in unit.slots):
        found = dict.fromkeys(outputs, COUNTED) | found
    return {module: why for module, why in found.items() if module not in known}


def _group(
    units: list[_Unit], taken: Counter[str], pairs: tuple[ChannelPair, ...]
) -> ChannelGroup | None:
    sides, sizes = [], []
    for slot in units[0].slots:
        if is_size(slot[1]) or is_over(slot[1]):
            sizes.append(Side(*slot, tuple(tuple(unit.slots[slot]) for unit in units)))
        if slot[1] in ("in", "out", "through") or axis_of(slot[1]) is not None:
            sides.append(Side(*slot, tuple(tuple(unit.slots[slot]) for unit in units)))
    producers = tuple(side for side in sides if side.side != "in")
    consumers = tuple(side for side in sides if side.side == "in")
    outputs = [side for side in producers if side.side == "out"]
    if not outputs or not (consumers or pairs) or len(units) < 2:
        return None
    name = outputs[0].module
    taken[name] += 1
    if taken[name] > 1:
        name = f"{name}#{taken[name]}"
    together = _run(outputs[0].positions[0])
    return ChannelGroup(name, len(units), producers, consumers, 1, together, tuple(sizes), pairs)


def _run(positions: Sequence[int]) -> int:
    """How many of some ascending positions follow the first without a gap."""
    return sum(place == positions[0] + number for number, place in enumerate(positions))
