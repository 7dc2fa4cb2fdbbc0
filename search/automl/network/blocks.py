"""Which parts can be left out: blocks, branches and layers of plain chains."""

from __future__ import annotations

from automl.network.bypass import Bypass, bypass_of, goes_with, shapes_of
from automl.network.forward_tracer import Address
from automl.network.trace import Call, Trace


def removable(trace: Trace) -> dict[str, Bypass]:
    """What can be left out, in network order, and how values go past it.

    Blocks before all: innermost modules whose output is one of their inputs plus something of the
    same shape. A block that adds one branch after another, as transformers' do, goes by branches:
    modules whose output is added to what they were made from. Outside blocks, innermost branches,
    and layers of chains. What else a module is given is read elsewhere too: without it that would
    be computed for nothing.
    """
    shapes, users, producers = shapes_of(trace), trace.users(), trace.producers()
    found: dict[str, Bypass] = {}
    for name in filter(None, (*trace.modules, *_layers(trace))):
        past = bypass_of(trace, name)
        if past is None or shapes.get(past.enters) != shapes.get(past.leaves):
            continue
        given = trace.modules[name][0] if past.kind == "block" else ()
        others = {*given} & {*producers} - {past.enters, *trace.output}
        if all(_read_outside(name, users[value]) for value in others):
            found[name] = past
    blocks = _innermost([name for name, past in found.items() if past.kind == "block"])
    kept = [part for name in blocks for part in _branches(name, found) or (name,)]
    for kind in ("branch", "layer"):
        further = _innermost([name for name, past in found.items() if past.kind == kind])
        kept += [name for name in further if not any(_overlap(name, other) for other in kept)]
    order, alone = _order(trace), _disjoint(trace, {name: found[name] for name in kept})
    return {name: found[name] for name in sorted(alone, key=lambda name: order.get(name, 0))}


def _disjoint(trace: Trace, found: dict[str, Bypass]) -> list[str]:
    """Parts of which no two take one operation with them, the smaller one before the larger.

    What takes all of an hourglass with it that is read nowhere else takes other parts along: which
    operations are left would then depend on several choices.
    """
    gone = {
        name: {call.step.address for call in trace.calls if goes_with(call, name, past)}
        for name, past in found.items()
    }
    kept, taken = list[str](), set[Address]()
    for name in sorted(gone, key=lambda name: len(gone[name])):
        if not gone[name] & taken:
            kept.append(name)
            taken |= gone[name]
    return kept


def _branches(name: str, found: dict[str, Bypass]) -> list[str]:
    """Two branches or more that follow one another from where a block begins to where it ends."""
    inside = [other for other in found if other.startswith(f"{name}.")]
    branches = _innermost([other for other in inside if found[other].kind == "branch"])
    by_entry = {found[other].enters: other for other in branches}
    value, chain = found[name].enters, list[str]()
    while value != found[name].leaves:
        if value not in by_entry:
            return []
        chain.append(by_entry.pop(value))
        value = found[chain[-1]].leaves
    return chain if len(chain) > 1 else []


def _layers(trace: Trace) -> list[str]:
    calls = (call.step.module for call in trace.calls if call.step.module)
    return [name for name in dict.fromkeys(calls) if name not in trace.modules]


def _innermost(names: list[str]) -> list[str]:
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _order(trace: Trace) -> dict[str, int]:
    """When each module first does something."""
    order: dict[str, int] = {}
    for index, call in enumerate(trace.calls):
        for name in (call.step.module, *call.step.scope):
            order.setdefault(name, index)
    return order


def _read_outside(name: str, users: list[Call]) -> bool:
    return any(name not in (*call.step.scope, call.step.module) for call in users)
