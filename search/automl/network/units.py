"""Units: convolutions that follow each other, in whose place something else can run as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from automl.network.layers import LayerPlan, Network
from automl.network.merges import Chain, chains, rows_of
from automl.network.replaceable import Gate

_CONVOLUTIONS: Final = ("conv2d", "depthwise_conv2d")


@dataclass(frozen=True, slots=True)
class BlockUnit:
    """A chain of convolutions with nothing but activations between them.

    Attributes:
        name: Of the first.
        plans: The convolutions, in their order.
        layers, groups: Names of priced layers and channel groups that are no more where something
            else runs.
        gate: The gate whose layers these convolutions are; None for others.
    """

    name: str
    plans: tuple[LayerPlan, ...]
    layers: tuple[str, ...]
    groups: tuple[str, ...]
    gate: Gate | None = None

    @property
    def chain(self) -> Chain:
        """Names of the convolutions."""
        return tuple(plan.layer.name for plan in self.plans)

    @property
    def first(self) -> LayerPlan:
        """The one that reads what enters."""
        return self.plans[0]

    @property
    def last(self) -> LayerPlan:
        """The one that writes what leaves."""
        return self.plans[-1]

    @property
    def block(self) -> str:
        """Name of the removable block that holds it, or ""."""
        return self.first.block


def units_of(network: Network) -> tuple[BlockUnit, ...]:
    """The units of a network, in its order; no two share a layer.

    Those are whole rows of what can be merged: convolutions of two dimensions in one removable
    block, or in none, of which the first and the last read and write all channels.
    """
    plans = {plan.layer.name: plan for plan in network.plans}
    gates = {gate.chain: gate for gate in network.gates}
    found = []
    for row in rows_of(network.merges):
        (chain,) = chains(row, [merge.name for merge in row])
        unit = BlockUnit(
            chain[0],
            tuple(plans[name] for name in chain),
            tuple(dict.fromkeys(name for merge in row for name in merge.layers)),
            tuple(dict.fromkeys(name for merge in row for name in merge.groups)),
            gates.get(chain),
        )
        if _is_whole(unit):
            found.append(unit)
    return tuple(found)


def _is_whole(unit: BlockUnit) -> bool:
    if len({plan.block for plan in unit.plans}) > 1:
        return False
    ends = unit.first.layer.groups == unit.last.layer.groups == 1
    return ends and all(
        plan.layer.op in _CONVOLUTIONS and len(plan.layer.kernel) == 2 for plan in unit.plans
    )
