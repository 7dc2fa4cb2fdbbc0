"""Residual additions that one layer in place of several can do itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import nn

from automl.errors import Raised, attempt
from automl.network.carried import Summed
from automl.network.composing import LinearMap
from automl.network.merges import Chain, Window
from automl.network.operators import base_name
from automl.network.outputs import output_tensors
from automl.network.recorded import Call, Trace
from automl.network.surgery import smaller

Tensor = torch.Tensor
#: How far outputs may be off where an addition is done before it would be.
_CLOSE = 1e-5


def additions_in(
    model: nn.Module, trace: Trace, found: Sequence[Chain], example: Tensor
) -> dict[Chain, Call]:
    """By chains that can become one: the addition of what the first reads to what the last writes.

    Each is tried on an example: the network has to compute the same where the last layer adds.

    Args:
        model: In eval mode.
        trace: Of it.
        found: The chains.
        example: An input.
    """
    some = {chain: _addition(model, trace, chain) for chain in found}
    added = {chain: call for chain, call in some.items() if call is not None}
    if not added or _same(model, [*added], example):
        return added
    return {chain: call for chain, call in added.items() if _same(model, [chain], example)}


def _addition(model: nn.Module, trace: Trace, chain: Chain) -> Call | None:
    written = {call.step.module: call for call in trace.calls if call.step.module}
    first, last = written[chain[0]], written[chain[-1]]
    readers = trace.users().get(last.outputs[0], [])
    if len(readers) != 1 or not first.inputs or last.outputs[0] in trace.output:
        return None
    total, both = readers[0], {first.inputs[0], last.outputs[0]}
    plain = base_name(total.step.op) == "add" and not total.step.module
    alike = {*total.in_shapes, *total.out_shapes} == {first.in_shapes[0]}
    if not (plain and alike and len(total.inputs) == 2 and {*total.inputs} == both):
        return None
    parts = [LinearMap.outline(model.get_submodule(name)).window for name in chain]
    return total if _has_centre(reduce(Window.before, parts)) else None


def _has_centre(window: Window) -> bool:
    """Whether a tap reads the place that is written."""
    axes = zip(window.kernel, window.stride, window.padding, window.dilation, strict=True)
    return all(
        taps % 2 and step == 1 and 2 * pad == apart * (taps - 1) for taps, step, pad, apart in axes
    )


def _same(model: nn.Module, found: Sequence[Chain], example: Tensor) -> bool:
    """Whether a network computes the same where last layers add what first ones read."""

    def outputs(network: nn.Module) -> list[Tensor]:
        with torch.no_grad():
            return output_tensors(network(example.clone()))

    def both() -> bool:
        made = smaller(model, (), {}, shared=True)
        for module in made.modules():
            module.register_forward_pre_hook(_refuse)
        for chain in found:
            _add_early(made.get_submodule(chain[0]), made.get_submodule(chain[-1]))
        return all(
            torch.allclose(one, other, rtol=_CLOSE, atol=_CLOSE * float(other.abs().max()))
            for one, other in zip(outputs(made), outputs(model), strict=True)
        )

    answer = attempt(both)
    return not isinstance(answer, Raised) and answer


def _refuse(module: nn.Module, args: tuple[Any, ...]) -> None:
    """Modules may do in training what they do not now (dropout): a sum goes to none of them.

    Where a norm was folded away is none such.
    """
    through = type(module).forward is nn.Identity.forward
    if any(isinstance(each, Summed) for each in args) and not through:
        raise TypeError(f"{type(module).__name__} between a layer and the addition")


def _add_early(first: nn.Module, last: nn.Module) -> None:
    read: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        read[:] = args

    def add(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Summed:
        return Summed(read[0] + output)

    first.register_forward_pre_hook(keep)
    last.register_forward_hook(add)
