"""Gates of channels, as squeeze-and-excitation has: which can be left out, and who reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import nn

from automl.errors import Raised, attempt
from automl.network.bypass import Bypass, Bypasses
from automl.network.labels import names
from automl.network.layers import LayerPlan
from automl.network.outputs import output_tensors
from automl.network.recorded import Call, Trace
from automl.network.replaceable import Gate
from automl.network.surgery import smaller

Tensor = torch.Tensor
#: What may lie between a gate and the layers that read it: each number scaled stays scaled.
_PASSES: Final = names("relu dropout alias detach contiguous clone")


def find_gates(
    model: nn.Module,
    trace: Trace,
    bypasses: Bypasses,
    priced: Iterable[tuple[Call, LayerPlan]],
    example: Tensor,
) -> tuple[Gate, ...]:
    """Gates that can go, in network order: what they write is read by convolutions alone.

    Without a gate its readers' weights are scaled by what it multiplied with. Each is left out of a
    copy once, which has to run and to give outputs of the same shapes.

    Args:
        model: In eval mode.
        trace: Of it.
        bypasses: Of the trace.
        priced: Its priced layers, with the operation that each is of.
        example: An input.
    """
    found: dict[str, Bypass] = {}
    for name in trace.modules:
        past = bypasses.of(name) if name else None
        if past is not None and past.kind == "gate" and trace.signatures[name].plain:
            found[name] = past
    inner = [name for name in found if not any(other.startswith(f"{name}.") for other in found)]
    plans = list(priced)
    users, uses, made = trace.users(), trace.uses(), list[Gate]()
    for name in inner:
        gone = bypasses.gone_with(name, found[name])
        own = [(call, plan) for call, plan in plans if call.step.address in gone]
        chain = tuple(call.step.module for call, _ in own if call.step.module)
        readers = _readers(found[name].leaves, users, trace)
        once = all(uses[each] == 1 for each in (*chain, *(readers or ())))
        if readers and chain and once and _runs_without(model, name, example):
            made.append(Gate(name, chain, tuple(plan.layer.name for _, plan in own), readers))
    return tuple(made)


def _readers(value: int, users: Mapping[int, list[Call]], trace: Trace) -> tuple[str, ...] | None:
    """Names of the convolutions that read a value; None where anything else does."""
    found, waiting = dict[str, None](), [value]
    while waiting:
        here = waiting.pop()
        if here in trace.output:
            return None
        for call in users.get(here, ()):
            name = call.step.op.rstrip("_")
            if call.step.module and name == "conv":
                found[call.step.module] = None
            elif call.step.module or name not in _PASSES:
                return None
            else:
                waiting += call.outputs
    return tuple(found)


def _runs_without(model: nn.Module, name: str, example: Tensor) -> bool:
    def shapes(network: nn.Module) -> list[torch.Size]:
        with torch.no_grad():
            return [each.shape for each in output_tensors(network(example.clone()))]

    def same() -> bool:
        left = smaller(model, (), {}, frozenset({name}), shared=True)
        return shapes(left) == shapes(model)

    answer = attempt(same)
    return not isinstance(answer, Raised) and answer
