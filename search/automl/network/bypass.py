"""What is handed on in place of a part that is left out: the value that enters it, or nothing.

Five kinds of parts can go. A block gives its input plus something: what enters it leaves it. A
branch is added by whoever called it to what it was made from: without it the sum is its other
operand. A layer of a plain chain reads and writes values of one shape; so does a module of one,
such as a block of RepVGG, whose branches all have weights. A gate multiplies the channels of its
input by numbers that it makes of it, as squeeze-and-excitation does.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch

from automl.network.forward_tracer import Address
from automl.network.labels import names
from automl.network.operators import is_free, is_rectifier
from automl.network.recorded import Call, Trace

#: Operators that may lie on the way of a value through a block that adds something to it,
_PASSES: Final = names("add relu clone dropout alias detach hardtanh clamp contiguous")
#: and those that lay it out otherwise, if all of them together leave it as it was.
_VIEWS: Final = names(
    "view _unsafe_view reshape _reshape_alias flatten unflatten permute transpose t squeeze "
    "unsqueeze movedim swapaxes"
)
_CHAINED: Final = ("conv", "conv_transpose", "linear")
Kind = Literal["block", "branch", "layer", "chain", "gate"]
#: A value on the way, and whether something was added to it since.
_Place = tuple[int, bool]


@dataclass(frozen=True, slots=True)
class Ends:
    """The layers of a part whose two sides may lose different channels.

    Attributes:
        reads: A layer that reads what enters the part.
        writes: The layer whose outputs leave it.
    """

    reads: str
    writes: str


@dataclass(frozen=True, slots=True)
class Bypass:
    """How a value goes past a part that is left out.

    Attributes:
        kind: What the part is.
        enters, leaves: Numbers of the value that goes past it, before and after.
        calls: Operations that go with the part beside its own: the sum that a branch ends in, and
            what nothing but the branch reads.
        ends: Of a part of a plain chain.
    """

    kind: Kind
    enters: int
    leaves: int
    calls: frozenset[Address] = frozenset()
    ends: Ends | None = None


class Bypasses:
    """How values go past the modules of a recorded pass; what is asked of it again is found once.

    Args:
        trace: The pass.

    Attributes:
        shapes: Of all values.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.shapes = shapes_of(trace)
        self._users, self._producers, self._uses = trace.users(), trace.producers(), trace.uses()
        self._places = {call.step.address: place for place, call in enumerate(trace.calls)}
        self._inside: dict[str, list[int]] = {}
        for place, call in enumerate(trace.calls):
            for name in dict.fromkeys((*call.step.scope, call.step.module)):
                self._inside.setdefault(name, []).append(place)
        self._earliest = self._read_later()

    def of(self, name: str) -> Bypass | None:
        """How a value goes past a module; None where none does."""
        if name not in self._trace.modules:
            return self._past_layer(name)
        found = self._through(name) or self._beside(name) or self._past_chain(name)
        return found or self._past_gate(name)

    def gone_with(self, name: str, past: Bypass) -> set[Address]:
        """The operations that are left out with a part."""
        return {
            self._trace.calls[at].step.address for at in self._inside.get(name, ())
        } | past.calls

    def is_read_outside(self, name: str, value: int) -> bool:
        """Whether any operation outside a module reads a value."""
        inside = {*self._inside.get(name, ())}
        return any(self._at(call) not in inside for call in self._users.get(value, ()))

    def is_written(self, value: int) -> bool:
        """Whether a value is an operation's output."""
        return value in self._producers

    def _at(self, call: Call) -> int:
        return self._places[call.step.address]

    def _read_later(self) -> list[int]:
        """Per operation, the earliest one whose output any later one reads; -1 for the input."""
        found, earliest = list[int](), len(self._trace.calls)
        for call in reversed(self._trace.calls):
            found.append(earliest)
            for value in call.inputs:
                writer = self._producers.get(value)
                earliest = min(earliest, -1 if writer is None else self._at(writer))
        return found[::-1]

    def _through(self, name: str) -> Bypass | None:
        """Past a module whose output is its input plus something.

        There is a path of additions (and of activations that leave what is already rectified
        alone) from the one to the other, and none from any other value that enters.
        """
        inputs, outputs = self._trace.modules[name]
        if not self._is_single(name):
            return None
        entered = _passed(outputs[0], set(inputs), self._producers)
        return Bypass("block", entered.pop(), outputs[0]) if len(entered) == 1 else None

    def _is_single(self, name: str) -> bool:
        """Whether a module runs once, and gives one tensor, none of those that it was given.

        Of a module that runs several times no inputs are recorded.
        """
        inputs, outputs = self._trace.modules[name]
        single = len(outputs) == 1 and self._trace.signatures[name].single
        return bool(inputs) and single and outputs[0] not in inputs

    def _beside(self, name: str) -> Bypass | None:
        """Past a module whose output is added, outside it, to what it was made from."""
        if not self._is_single(name):
            return None
        output = self._trace.modules[name][1][0]
        readers = self._users.get(output, [])
        if len(readers) != 1 or output in self._trace.output:
            return None
        (added,) = readers
        others = [value for value in added.inputs if value != output]
        if added.step.op.rstrip("_") != "add" or len(others) != 1 or not added.outputs:
            return None
        if len({*added.in_shapes, *added.out_shapes}) > 1:
            return None
        own = {*self._inside.get(name, ())}
        gone = self._only_for(own)
        calls = self._trace.calls
        if others[0] not in {value for at in gone for value in calls[at].inputs}:
            return None  # it was made from something else
        beside = {calls[at].step.address for at in gone - own}
        return Bypass(
            "branch", others[0], added.outputs[0], frozenset({added.step.address, *beside})
        )

    def _only_for(self, last: set[int]) -> set[int]:
        """These operations, and those that nothing but them reads."""
        calls, gone = self._trace.calls, {*last}
        waiting = [-at for at in last]
        heapq.heapify(waiting)  # readers come before what they read
        while waiting:
            for value in calls[-heapq.heappop(waiting)].inputs:
                writer = self._producers.get(value)
                if writer is None or self._at(writer) in gone:
                    continue
                written = {*writer.outputs}
                readers = [self._at(each) for one in written for each in self._users.get(one, ())]
                if gone.issuperset(readers) and not written & {*self._trace.output}:
                    gone.add(self._at(writer))
                    heapq.heappush(waiting, -self._at(writer))
        return gone

    def _past_layer(self, name: str) -> Bypass | None:
        """Past a layer of a plain chain."""
        at = self._inside.get(name, [])
        if not name or len(at) != 1 or self._uses[name] != 1:
            return None
        call = self._trace.calls[at[0]]
        if call.step.op not in _CHAINED or len(self._users.get(call.outputs[0], ())) != 1:
            return None
        passes = self._is_link(at, call.inputs[0], call.outputs[0])
        return (
            Bypass("layer", call.inputs[0], call.outputs[0], ends=Ends(name, name))
            if passes
            else None
        )

    def _past_chain(self, name: str) -> Bypass | None:
        """Past a module of a plain chain: layers beside each other, or one after another."""
        inputs, outputs = self._trace.modules[name]
        at = self._inside.get(name, [])
        if not name or len(inputs) != 1 or not at or not self._is_single(name):
            return None
        if not self._trace.signatures[name].plain:
            return None
        (enters,), (leaves,) = inputs, outputs
        inside = {*at}
        if any(
            value != leaves
            and any(self._at(user) not in inside for user in self._users.get(value, ()))
            for place in at
            for value in self._trace.calls[place].outputs
        ):
            return None
        ends = self._ends([self._trace.calls[place] for place in at], enters, leaves)
        if ends is None or not self._is_link(at, enters, leaves):
            return None
        return Bypass("chain", enters, leaves, ends=ends)

    def _past_gate(self, name: str) -> Bypass | None:
        """Past a module that multiplies each channel of its map by a number made of the map."""
        inputs, outputs = self._trace.modules[name]
        if not name or len(inputs) != 1 or not self._is_single(name):
            return None
        (enters,), (leaves,) = inputs, outputs
        last, inside = self._producers.get(leaves), {*self._inside.get(name, ())}
        if last is None or last.step.op.rstrip("_") != "mul" or self._at(last) not in inside:
            return None
        others = [value for value in last.inputs if value != enters]
        wide = self.shapes[enters]
        if len(last.inputs) != 2 or len(others) != 1 or len(wide) != 4 or wide[2:] == (1, 1):
            return None
        if self.shapes[others[0]] != (*wide[:2], 1, 1):
            return None
        private = inside - {self._at(last)}
        written = [value for at in private for value in self._trace.calls[at].outputs]
        readers = (self._at(user) for value in written for user in self._users.get(value, ()))
        weighs = any(self._trace.calls[at].step.op in _CHAINED for at in private)
        alone = inside.issuperset(readers) and not {*written} & {*self._trace.output}
        return Bypass("gate", enters, leaves) if weighs and alone else None

    def _ends(self, calls: list[Call], enters: int, leaves: int) -> Ends | None:
        """The layers of a module that read what enters it, and write what leaves it."""
        layers = [call for call in calls if call.step.op in _CHAINED]
        if any(self._uses[call.step.module] != 1 for call in layers):
            return None
        last, union = self._producers[leaves], self._trace.union
        line = union.roots(last.out_labels)
        reads = [call for call in layers if call.inputs[0] == enters]
        writes = [call for call in layers if np.array_equal(union.roots(call.out_labels), line)]
        if not reads or not writes or reads[0].in_dims != last.out_dims:
            return None
        return Ends(reads[0].step.module, writes[-1].step.module)

    def _is_link(self, at: Sequence[int], enters: int, leaves: int) -> bool:
        """Whether all that is computed after some operations is computed from what leaves them.

        Not where a rectification follows that would then follow something else than itself:
        runtimes make it part of the layer.
        """
        before, last = self._producers.get(enters), self._producers.get(leaves)
        if before is None or last is None or leaves in self._trace.output:
            return False
        if self.shapes[enters] != self.shapes[leaves] or self._earliest[at[-1]] < self._at(last):
            return False
        bent = [
            after
            for after in self._users.get(leaves, ())
            if is_free(after, last) and is_rectifier(after)
        ]
        return all(is_free(after, before) and is_rectifier(before) for after in bent)


def goes_with(call: Call, name: str, past: Bypass | None) -> bool:
    """Whether an operation is left out with a part."""
    own = name == call.step.module or name in call.step.scope
    return own or (past is not None and call.step.address in past.calls)


def shapes_of(trace: Trace) -> dict[int, tuple[int, ...]]:
    """Shapes of all values."""
    pairs = (
        pair
        for call in trace.calls
        for pair in (
            *zip(call.inputs, call.in_shapes, strict=True),
            *zip(call.outputs, call.out_shapes, strict=True),
        )
    )
    return dict(pairs)


def _passed(end: int, starts: set[int], producers: dict[int, Call]) -> set[int]:
    """Of these values, those that additions carry to another one."""
    pending: list[_Place] = [(end, False)]
    after: dict[_Place, tuple[_Place, Call] | None] = {pending[0]: None}
    found = set[int]()
    while pending:
        here = value, added = pending.pop()
        if value in starts:
            if added and _as_it_was(_way(here, after)):
                found.add(value)
            continue
        if value not in producers:
            continue
        call = producers[value]
        name = call.step.op.rstrip("_")
        passes = name in _PASSES and call.in_shapes[0] == call.out_shapes[0]
        if passes or (name in _VIEWS and len(call.inputs) == 1):
            for read in call.inputs:
                before = (read, added or name == "add")
                if before not in after:
                    after[before] = (here, call)
                    pending.append(before)
    return found


def _way(start: _Place, after: dict[_Place, tuple[_Place, Call] | None]) -> Iterator[Call]:
    step = after[start]
    while step is not None:
        place, call = step
        yield call
        step = after[place]


def _as_it_was(way: Iterator[Call]) -> bool:
    """Whether views on the way of a value leave its numbers where they were, all together."""
    views = [call for call in way if call.step.op in _VIEWS]
    if not views:
        return True
    start = views[0].in_shapes[0]
    numbers = torch.arange(torch.Size(start).numel()).view(start)
    moved = numbers
    for call in views:
        view: Any = getattr(torch.ops.aten, call.step.op)
        moved = view(moved.contiguous(), *call.arguments[1:])  # copies on the way are left out
    return moved.shape == numbers.shape and torch.equal(moved, numbers)
