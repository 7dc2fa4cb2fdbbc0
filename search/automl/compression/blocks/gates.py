"""Gates that are left out: what they multiplied with, and the weights that take it up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from automl.compression.blocks.registry import block_form
from automl.compression.memory import Images
from automl.network import Gate, Network, remove, replace_layer, units_of
from automl.policy import Policy
from automl.space import alternatives_of
from automl.userdata import fitting

Tensor = torch.Tensor
_KIND = "alternative"


def gates_left_out(network: Network, policy: Policy) -> tuple[Gate, ...]:
    """Those that a policy leaves out; none of blocks that are left out."""
    chosen = alternatives_of(policy)
    some = [unit for unit in units_of(network) if unit.gate is not None and unit.name in chosen]
    return tuple(
        unit.gate
        for unit in some
        if unit.gate is not None
        and block_form(chosen[unit.name]).opens_gates
        and not (unit.block and unit.block in policy.removed)
    )


def without_gates(network: Network, policy: Policy) -> Policy:
    """The same choices, with the gates that go among the parts that are left out."""
    gone = {gate.chain[0]: gate.name for gate in gates_left_out(network, policy)}
    if not gone:
        return policy
    others = {unit: form for unit, form in policy.further[_KIND].items() if unit not in gone}
    gates = frozenset(gone.values())
    return replace(
        policy, removed=policy.removed | gates, further={**policy.further, _KIND: others}
    )


@torch.no_grad()
def gate_factors(model: nn.Module, gates: Sequence[Gate], images: Images) -> dict[str, Tensor]:
    """What each gate multiplies its channels with, by its name: [channels].

    Of the least squared error over all inputs; 1 where a channel is always zero.

    Args:
        model: The dense network.
        gates: Of it.
        images: Calibration inputs.
    """
    sums: dict[str, tuple[Tensor, Tensor]] = {}

    def seen(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            products, squares = (
                (args[0] * each).sum((0, 2, 3), dtype=torch.float64) for each in (output, args[0])
            )
            before = sums.get(name, (0.0, 0.0))
            sums[name] = (before[0] + products, before[1] + squares)

        return note

    handles = [
        model.get_submodule(gate.name).register_forward_hook(seen(gate.name)) for gate in gates
    ]
    try:
        batch = fitting(images[:1])
        for place in range(0, len(images), batch):
            model(images[place : place + batch])
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: torch.where(squares > 0, products / squares.clamp_min(1e-300), 1.0).float()
        for name, (products, squares) in sums.items()
    }


@torch.no_grad()
def take_up(
    model: nn.Module, gate: Gate, factors: Tensor, kept: Mapping[tuple[str, str], Tensor]
) -> None:
    """Multiply the readers' weights, in place.

    Args:
        model: A candidate, its channels cut.
        gate: That was left out.
        factors: Of all channels of the dense network.
        kept: Positions that stay along sides that lose some.
    """
    for name in gate.readers:
        module: Any = model.get_submodule(name)
        stays = kept.get((name, "in"), kept.get((name, "through")))
        own = (factors if stays is None else factors[stays]).to(module.weight)
        weight = module.weight.unflatten(0, (module.groups, -1))
        scaled = weight * own.view(module.groups, 1, -1, *[1] * (module.weight.dim() - 2))
        made = nn.Parameter(scaled.flatten(0, 1), requires_grad=module.weight.requires_grad)
        module.weight = made


def leave_out(model: nn.Module, gate: Gate, factors: Tensor) -> Callable[[], None]:
    """Leave a gate of the dense network out, in place; gives what undoes it."""
    before = model.get_submodule(gate.name)
    weights = [
        (model.get_submodule(name), model.get_submodule(name).weight) for name in gate.readers
    ]
    remove(model, frozenset({gate.name}))
    take_up(model, gate, factors, {})

    def undo() -> None:
        replace_layer(model, gate.name, before)
        for module, weight in weights:
            module.weight = weight

    return undo
