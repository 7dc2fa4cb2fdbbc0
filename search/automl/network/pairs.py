"""Channels that are multiplied with each other: where those of queries and of keys are written."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from automl.network.layers import ChannelPair, Side
from automl.network.recorded import Trace

Tensor = torch.Tensor


class ChannelPairs:
    """The products of a recorded pass that sum over channels.

    Args:
        trace: Of the pass, settled.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._places: dict[int, tuple[str, int]] = {}  # by the label that a layer gave
        self._first: dict[int, tuple[str, int]] = {}  # by the class that it became
        for (module, side), line in trace.bindings.items():
            if side == "out":
                for place, label in enumerate(line.tolist()):
                    self._places.setdefault(label, (module, place))
                    self._first.setdefault(trace.union.root(label), (module, place))
        self._found = [
            (self._units(left), self._written(left), self._written(right))
            for left, right in trace.heads.paired
        ]

    def of(self, roots: Sequence[int]) -> tuple[ChannelPair, ...]:
        """The pairs of a group's channels, given by their classes in its order."""
        found = []
        for units, left, right in self._found:
            if left is None or right is None or set(units) != set(roots):
                continue
            order = [units.index(root) for root in roots]
            sides = (
                Side(module, "out", tuple(tuple(heads[at] for heads in places) for at in order))
                for module, places in (left, right)
            )
            found.append(ChannelPair(*sides))
        return tuple(dict.fromkeys(found))

    def _units(self, cells: Tensor) -> list[int]:
        """Per place within the heads, its class."""
        heads = self._trace.heads
        return [heads.units(root)[-1] for root in self._trace.union.roots(cells[0]).tolist()]

    def _written(self, cells: Tensor) -> tuple[str, list[list[int]]] | None:
        """The module that writes channels, and where: [heads][channels of each]."""
        found = [self._place(label) for label in cells.flatten().tolist()]
        modules = {module for module, _ in found}
        if len(modules) > 1 or modules == {""}:
            return None
        at = torch.tensor([place for _, place in found]).view(cells.shape)
        return modules.pop(), at.tolist()

    def _place(self, label: int) -> tuple[str, int]:
        """Which layer wrote a channel, and where: the first of several that may have."""
        found = self._places.get(label)
        return found or self._first.get(self._trace.union.root(label), ("", 0))
