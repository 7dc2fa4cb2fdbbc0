"""The trace of a network in which other modules run in the places of layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

import torch
from torch import nn

from automl.network.forward_tracer import LeafCall
from automl.network.own_forward import OwnForward
from automl.network.recorded import Call, Trace
from automl.network.trace import record


def spliced(trace: Trace, model: nn.Module, parts: Mapping[str, nn.Module]) -> Trace:
    """A trace with the operations of other modules in place of some layers'.

    Only operations, shapes and the values between them are made anew; there are no labels inside.

    Args:
        trace: Of the model.
        model: With its layers.
        parts: Per layer, what runs in its place on inputs of the same shape, in eval mode.
    """
    if not parts:
        return trace
    values = (value for call in trace.calls for value in (*call.inputs, *call.outputs))
    splicer = _Splicer(count(max((*values, *trace.output), default=0) + 1))
    calls: list[Call] = []
    for call in trace.calls:
        name = call.step.module
        if name in parts:
            calls += splicer.inside(call, parts[name], place_of(model, name))
        else:
            calls.append(call)
    return replace(trace, calls=calls)


def place_of(model: nn.Module, layer: str) -> str:
    """The name that a module has in a model once `replace_layer` put it in a layer's place."""
    return f"{layer}.stands_in" if isinstance(model.get_submodule(layer), OwnForward) else layer


@dataclass(slots=True)
class _Splicer:
    """Numbers values and counts visits anew."""

    fresh: Iterator[int]
    visits: Counter[str] = field(default_factory=Counter)

    def inside(self, call: Call, part: nn.Module, place: str) -> Iterator[Call]:
        """The operations of a part that runs in the place of one call of a layer."""
        held = nn.Sequential(part)  # so that a part that is a layer has a name
        found = record(held, torch.zeros(call.in_shapes[0]), labelled=False)
        produced = {value for each in found.calls for value in each.outputs}
        numbers = dict.fromkeys(
            (value for each in found.calls for value in each.inputs if value not in produced),
            call.inputs[0],
        )
        numbers |= dict(zip(found.output, call.outputs, strict=True))
        seen = Counter[str]()
        for each in found.calls:
            for value in each.outputs:
                if value not in numbers:
                    numbers[value] = next(self.fresh)
            name = _named(place, each.step.address[0])
            seen[name] = max(seen[name], each.step.address[1] + 1)
            step = LeafCall(
                (name, self.visits[name] + each.step.address[1]),
                each.step.op,
                _named(place, each.step.module) if each.step.module else "",
                (*call.step.scope, *(_named(place, scope) for scope in each.step.scope[1:])),
            )
            yield replace(
                each,
                step=step,
                inputs=tuple(numbers[value] for value in each.inputs),
                outputs=tuple(numbers[value] for value in each.outputs),
            )
        self.visits += seen


def _named(place: str, inside: str) -> str:
    """A name inside what holds a part, "0" being the part's own, as it is in the network."""
    return place + inside.removeprefix("0")
