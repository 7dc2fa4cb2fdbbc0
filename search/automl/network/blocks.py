"""Which parts can be left out: modules with a path from input to output that nothing transforms."""

from __future__ import annotations

from automl.network.trace import Call, Trace


def removable(trace: Trace) -> tuple[str, ...]:
    """Innermost modules that could hand on what they are given, in network order.

    A module qualifies when it runs once, its output is one of its inputs plus something of the same
    shape (`Trace.passage`), and what else it is given is read elsewhere too: without the module it
    would be computed for nothing.
    """
    shapes = {value: shape for call in trace.calls for value, shape in _shapes(call)}
    users, producers = trace.users(), trace.producers()
    found = []
    for name in filter(None, trace.modules):
        passage = trace.passage(name)
        if passage is None or shapes.get(passage[0]) != shapes.get(passage[1]):
            continue
        others = {*trace.modules[name][0]} & {*producers} - {passage[0], *trace.output}
        if all(_read_outside(name, users[value]) for value in others):
            found.append(name)
    innermost = [name for name in found if not any(other.startswith(f"{name}.") for other in found)]
    order = {call.step.module or call.step.address[0]: i for i, call in enumerate(trace.calls)}
    return tuple(
        sorted(
            innermost,
            key=lambda name: min(
                (i for module, i in order.items() if (module + ".").startswith(name + ".")),
                default=0,
            ),
        )
    )


def _shapes(call: Call) -> list[tuple[int, tuple[int, ...]]]:
    read = zip(call.inputs, call.in_shapes, strict=True)
    return [*read, *zip(call.outputs, call.out_shapes, strict=True)]


def _read_outside(name: str, users: list[Call]) -> bool:
    return any(name not in (*call.step.scope, call.step.module) for call in users)
