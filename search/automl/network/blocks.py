"""Which parts can be left out: blocks, branches and layers of plain chains."""

from __future__ import annotations

from automl.network.bypass import Bypass, Bypasses
from automl.network.forward_tracer import Address
from automl.network.recorded import Trace


def removable(trace: Trace) -> dict[str, Bypass]:
    """What can be left out, in network order, and how values go past it.

    Blocks before all: innermost modules whose output is one of their inputs plus something of the
    same shape. A block that adds one branch after another, as transformers' do, goes by branches:
    modules whose output is added to what they were made from. Outside blocks, innermost branches,
    and layers of chains; modules of chains that hold none of these. What else a module is given is
    read elsewhere too: without it that would be computed for nothing.
    """
    bypasses, found = Bypasses(trace), dict[str, Bypass]()
    shapes = bypasses.shapes
    for name in filter(None, (*trace.modules, *_layers(trace))):
        past = bypasses.of(name)
        if past is None or shapes.get(past.enters) != shapes.get(past.leaves):
            continue
        given = trace.modules[name][0] if past.kind == "block" else ()
        others = {*given} - {past.enters, *trace.output}
        if all(
            bypasses.is_read_outside(name, value) for value in others if bypasses.is_written(value)
        ):
            found[name] = past
    found = {name: past for name, past in found.items() if not _is_last_of(name, past, found)}
    blocks = _innermost([name for name, past in found.items() if past.kind == "block"])
    kept = [part for name in blocks for part in _branches(name, found) or (name,)]
    for kind in ("branch", "layer", "chain"):
        further = _innermost([name for name, past in found.items() if past.kind == kind])
        kept += [name for name in further if not any(_overlap(name, other) for other in kept)]
    order, alone = _order(trace), _disjoint(bypasses, {name: found[name] for name in kept})
    return {name: found[name] for name in sorted(alone, key=lambda name: order.get(name, 0))}


def _disjoint(bypasses: Bypasses, found: dict[str, Bypass]) -> list[str]:
    """Parts of which no two take one operation with them, the smaller one before the larger.

    What takes all of an hourglass with it that is read nowhere else takes other parts along: which
    operations are left would then depend on several choices.
    """
    gone = {name: bypasses.gone_with(name, past) for name, past in found.items()}
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


def _is_last_of(name: str, past: Bypass, found: dict[str, Bypass]) -> bool:
    """Whether a branch is the last part of another one, with which more goes."""
    around = (name[:at] for at, letter in enumerate(name) if letter == ".")
    ways = (found[other] for other in around if other in found)
    ends = (past.kind, past.enters, past.leaves)
    return past.kind == "branch" and any((w.kind, w.enters, w.leaves) == ends for w in ways)


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
