"""Parts that the recorded pass does not visit: early exits, heads that run in training alone.

What feeds such a part must keep its channels, or the part no longer runs when its turn comes. What
feeds it is seen in a pass in training mode, where the part runs in one. Elsewhere it may be any
value of the module around it that has as many channels as one of its layers takes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from automl.errors import Raised, attempt
from automl.network.forward_tracer import ForwardTracer, LeafCall, base_kind
from automl.network.layers import Unprunable
from automl.network.recorded import Call, Trace
from automl.network.trace import record

Tensor = torch.Tensor
NEVER: Final = "it does not run on the recorded input; the channels that may feed it stay"
FEEDS: Final = "its channels may feed a part that does not run on the recorded input"


def keep_feeds(trace: Trace, model: nn.Module, example: Tensor) -> tuple[Unprunable, ...]:
    """Freeze the channels that may feed parts that were not visited; these parts, with the reason.

    Args:
        trace: Of the network; its labels are frozen in place.
        model: The network, in eval mode.
        example: The input that was recorded.
    """
    parts = _unvisited(trace, model)
    if parts:
        reads = _Reads(model)
        with reads.attached():
            model(example.clone())
        parts = [name for name in parts if reads.found.isdisjoint(_ids(model, name))]
    if not parts:
        return ()
    training = attempt(lambda: record(copy.deepcopy(model).train(), example, labelled=False))
    here = {call.step.address: call for call in trace.calls}
    for name in parts:
        outside = [] if isinstance(training, Raised) else _read_from_outside(training, name)
        known = [here[call.step.address] for call in outside if call.step.address in here]
        for call in known or _candidates(trace, model, name):
            trace.union.freeze(call.out_labels, FEEDS)
    return tuple(Unprunable(name, NEVER) for name in parts)


def _unvisited(trace: Trace, model: nn.Module) -> list[str]:
    """Outermost modules with weights of which nothing was visited, in the order of their names."""
    visited = {"", *trace.modules, *(call.step.module for call in trace.calls)}
    ancestors = {name[:at] for name in visited for at in _dots(name)}
    found: list[str] = []
    for name, module in model.named_modules():
        within = any(name.startswith(f"{other}.") for other in found)
        if (
            not within
            and name not in visited | ancestors
            and any(True for _ in module.parameters())
        ):
            found.append(name)
    return found


def _dots(name: str) -> Iterable[int]:
    return (at for at, letter in enumerate(name) if letter == ".")


def _ids(model: nn.Module, name: str) -> set[int]:
    return {id(parameter) for parameter in model.get_submodule(name).parameters()}


class _Reads(ForwardTracer):
    """Notes which tensors operations read: a module's weights may be used without running it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.found: set[int] = set()

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        held = func.parameters() if isinstance(func, nn.Module) else tree_leaves((args, kwargs))
        self.found.update(map(id, held))


def _read_from_outside(trace: Trace, part: str) -> list[Call]:
    """The operations outside a part whose outputs the operations in it read."""
    producers = trace.producers()
    within = [call for call in trace.calls if _is_in(call, part)]
    read = (producers[value] for call in within for value in call.inputs if value in producers)
    return [call for call in read if not _is_in(call, part)]


def _is_in(call: Call, part: str) -> bool:
    return f"{call.step.module or call.step.address[0]}.".startswith(f"{part}.")


def _candidates(trace: Trace, model: nn.Module, part: str) -> list[Call]:
    """The operations whose outputs the module around a part holds, and that may be its inputs."""
    around = part.rpartition(".")[0]
    while around and around not in trace.modules:
        around = around.rpartition(".")[0]
    producers, held = trace.producers(), set[int]()
    for call in trace.calls:
        if call.step.scope and call.step.scope[-1] == around:
            held.update((*call.inputs, *call.outputs))
    for name, (inputs, outputs) in trace.modules.items():
        if name == around:
            held.update(inputs)
        elif name.startswith(f"{around}." if around else ""):
            held.update((*inputs, *outputs))
    widths = _widths(model.get_submodule(part))
    calls = (producers[value] for value in held if value in producers)
    return [call for call in calls if widths & {len(call.out_labels), *call.out_shapes[0]}]


def _widths(part: nn.Module) -> set[int]:
    """How many channels a part's layers take; of other modules all extents of their weights."""
    found: set[int] = set()
    for module in part.modules():
        layer: Any = module
        if base_kind(module) in ("conv", "conv_transpose"):
            found.add(layer.in_channels)
        elif isinstance(module, nn.Linear):
            found.add(layer.in_features)
        else:
            found.update(*(each.shape for each in module.parameters(recurse=False)))
    return found
