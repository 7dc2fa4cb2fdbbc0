"""What is handed on in place of a part that is left out: the value that enters it, or nothing.

Three kinds of parts can go. A block gives its input plus something: what enters it leaves it. A
branch is added by whoever called it to what it was made from: without it the sum is its other
operand. A layer of a plain chain reads and writes values of one shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch

from automl.network.forward_tracer import Address
from automl.network.labels import names
from automl.network.operators import is_free, is_rectifier
from automl.network.trace import Call, Trace

#: Operators that may lie on the way of a value through a block that adds something to it,
_PASSES: Final = names("add relu clone dropout alias detach hardtanh clamp contiguous")
#: and those that lay it out otherwise, if all of them together leave it as it was.
_VIEWS: Final = names(
    "view _unsafe_view reshape _reshape_alias flatten unflatten permute transpose t squeeze "
    "unsqueeze movedim swapaxes"
)
_CHAINED: Final = ("conv", "conv_transpose", "linear")
Kind = Literal["block", "branch", "layer"]
#: A value on the way, and whether something was added to it since.
_Place = tuple[int, bool]


@dataclass(frozen=True, slots=True)
class Bypass:
    """How a value goes past a part that is left out.

    Attributes:
        kind: What the part is.
        enters, leaves: Numbers of the value that goes past it, before and after.
        calls: Operations that go with the part beside its own: the sum that a branch ends in, and
            what nothing but the branch reads.
    """

    kind: Kind
    enters: int
    leaves: int
    calls: frozenset[Address] = frozenset()


def bypass_of(trace: Trace, name: str) -> Bypass | None:
    """How a value goes past a module; None where none does."""
    if name not in trace.modules:
        return _past_layer(trace, name)
    return _through(trace, name) or _beside(trace, name)


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


def _through(trace: Trace, name: str) -> Bypass | None:
    """Past a module whose output is its input plus something.

    There is a path of additions (and of activations that leave what is already rectified alone)
    from the one to the other, and none from any other value that enters.
    """
    inputs, outputs = trace.modules[name]
    if len(outputs) != 1 or not trace.signatures[name].single or outputs[0] in inputs:
        return None
    entered = _passed(outputs[0], set(inputs), trace.producers())
    return Bypass("block", entered.pop(), outputs[0]) if len(entered) == 1 else None


def _beside(trace: Trace, name: str) -> Bypass | None:
    """Past a module whose output is added, outside it, to what it was made from."""
    inputs, outputs = trace.modules[name]
    if len(outputs) != 1 or not trace.signatures[name].single or outputs[0] in inputs:
        return None
    users, output = trace.users(), outputs[0]
    readers = users.get(output, [])
    if len(readers) != 1 or output in trace.output:
        return None
    (added,) = readers
    others = [value for value in added.inputs if value != output]
    if added.step.op.rstrip("_") != "add" or len(others) != 1 or not added.outputs:
        return None
    if len({*added.in_shapes, *added.out_shapes}) > 1:
        return None
    dead = [call for call in trace.calls if name in call.step.scope or call.step.module == name]
    own = {call.step.address for call in dead}
    gone = _only_for(trace, dead, users)
    if others[0] not in {value for call in gone for value in call.inputs}:
        return None  # it was made from something else
    beside = {call.step.address for call in gone} - own
    return Bypass("branch", others[0], added.outputs[0], frozenset({added.step.address, *beside}))


def _only_for(trace: Trace, last: list[Call], users: dict[int, list[Call]]) -> list[Call]:
    """These calls, and those that nothing but them reads."""
    gone = {call.step.address: call for call in last}
    for call in reversed(trace.calls):
        readers = [reader for value in call.outputs for reader in users.get(value, [])]
        unread = readers and all(reader.step.address in gone for reader in readers)
        if unread and not {*call.outputs} & {*trace.output}:
            gone.setdefault(call.step.address, call)
    return list(gone.values())


def _past_layer(trace: Trace, name: str) -> Bypass | None:
    """Past a layer of a plain chain: all that is computed after it is computed from its output.

    Not where a rectification follows that would then follow something else than itself: runtimes
    make it part of the layer.
    """
    at = [index for index, call in enumerate(trace.calls) if call.step.module == name]
    if len(at) != 1 or trace.uses()[name] != 1 or trace.calls[at[0]].step.op not in _CHAINED:
        return None
    call, later = trace.calls[at[0]], trace.calls[at[0] + 1 :]
    enters, leaves = call.inputs[0], call.outputs[0]
    before, known = trace.producers().get(enters), {leaves}
    if before is None or leaves in trace.output or call.in_shapes[0] != call.out_shapes[0]:
        return None
    for after in later:
        if not known.issuperset(after.inputs):
            return None
        known.update(after.outputs)
    readers = [after for after in later if leaves in after.inputs]
    bent = [after for after in readers if is_free(after, call) and is_rectifier(after)]
    same = all(is_free(after, before) and is_rectifier(before) for after in bent)
    return Bypass("layer", enters, leaves) if len(readers) == 1 and same else None


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
