"""Which parts can be left out: modules with a path from input to output that nothing transforms."""

from __future__ import annotations

from automl.network.trace import Call, Trace

_PASSES = frozenset({"add", "relu", "clone", "dropout", "alias", "detach", "hardtanh", "clamp"})


def removable(trace: Trace) -> tuple[str, ...]:
    """Innermost modules that the identity could replace, in network order.

    A module qualifies when it is called once with one tensor, returns one tensor of the same shape,
    and its output is its input plus something: there is a path of additions (and of activations
    that leave what is already rectified alone) from the one to the other.
    """
    shapes = {value: shape for call in trace.calls for value, shape in _shapes(call)}
    producers = trace.producers()
    found = []
    for name, (inputs, outputs) in trace.modules.items():
        if not name or len(inputs) != 1 or len(outputs) != 1 or inputs[0] == outputs[0]:
            continue
        same = shapes.get(inputs[0]) == shapes.get(outputs[0]) is not None
        if same and _has_skip(inputs[0], outputs[0], producers):
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


def _has_skip(start: int, end: int, producers: dict[int, Call]) -> bool:
    pending, seen, added = [end], set(), False
    while pending:
        value = pending.pop()
        if value == start:
            return added
        if value in seen or value not in producers:
            continue
        seen.add(value)
        call = producers[value]
        if call.step.op.rstrip("_") not in _PASSES or call.in_shapes[0] != call.out_shapes[0]:
            continue
        added = added or call.step.op.rstrip("_") == "add"
        pending.extend(call.inputs)
    return False
