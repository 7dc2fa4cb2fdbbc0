"""Which parameters are counted with which layer: each once, with what reads it first.

A parameter that several layers hold is stored once. One that no priced layer reads (a position
embedding, what weights are computed from) is counted with a layer of the same block, or of none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from automl.network.layers import WEIGHTED, LayerPlan, Parameters
from automl.network.recorded import Call, Trace


def with_parameters(
    plans: Sequence[LayerPlan],
    calls: Sequence[Call],
    trace: Trace,
    model: nn.Module,
    blocks: Sequence[str],
) -> list[LayerPlan]:
    """The plans with the parameters that are counted with each.

    Args:
        plans: Of a network's layers.
        calls: Per plan the operation that it is of; several plans may be of one.
        trace: Of the network.
        model: The network.
        blocks: Names of removable blocks.
    """
    sizes = {name: each.numel() for name, each in model.named_parameters()}
    names = {id(each): name for name, each in model.named_parameters()}
    counted: set[str] = set()
    found = []
    for plan, call in zip(plans, calls, strict=True):
        new = {name: sizes[name] for name in call.weights if name not in counted}
        counted.update(new)
        module = model.get_submodule(call.step.module) if call.step.module else None
        weight = names.get(id(getattr(module, "weight", None)), "")
        found.append(replace(plan, held=_held(plan, call.step.op, weight, new)))
    return _with_rest(found, trace, {n: sizes[n] for n in sizes.keys() - counted}, blocks)


def _held(plan: LayerPlan, op: str, weight: str, new: Mapping[str, int]) -> Parameters:
    """Those among the `new` parameters of an operation, with their sizes, that go with its plan.

    Args:
        plan: Of the operation.
        op: What the operation is.
        weight: Name of its module's weight, or "".
        new: Parameters that no other operation has read before it.
    """
    if op == "batch_norm":  # scales and shifts, whatever it keeps them as
        return Parameters.usual("norm") if new or not weight else Parameters()
    others = sum(new.values())
    if plan.layer.op in WEIGHTED and weight in new:
        return _scaled(plan, others - new[weight], weights=True)
    return _scaled(plan, others)


def _scaled(plan: LayerPlan, count: int, *, weights: bool = False) -> Parameters:
    """So many parameters, that go with the output channels where these can go."""
    times, left = divmod(count, plan.layer.out_channels)
    if left or not plan.outputs.parts:
        return Parameters(weights, 0, count)
    return Parameters(weights, times)


def _with_rest(
    plans: list[LayerPlan], trace: Trace, rest: Mapping[str, int], blocks: Sequence[str]
) -> list[LayerPlan]:
    """The plans with parameters that no layer reads by itself, with their sizes."""
    scopes = dict(trace.asides)
    for call in trace.alive():
        for name in call.weights:
            scopes.setdefault(name, call.step.scope)
    for name in sorted(rest.keys() & scopes.keys()):
        place = _place(plans, scopes[name], blocks)
        if place is not None:
            held = plans[place].parameters
            held = replace(held, fixed=held.fixed + rest[name])
            plans[place] = replace(plans[place], held=held)
    return plans


def _place(plans: Iterable[LayerPlan], scope: Sequence[str], blocks: Sequence[str]) -> int | None:
    """The first plan of the block that a scope lies in, or of none."""
    block = next((name for name in blocks if name in scope), "")
    return next((place for place, plan in enumerate(plans) if plan.block == block), None)
