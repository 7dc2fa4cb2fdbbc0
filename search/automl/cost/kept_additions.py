"""Residual additions beside layers that became one: in few bits these do not add themselves."""

from __future__ import annotations

from collections.abc import Iterator

from automl.cost.layer_tables import Builder, LayerTable
from automl.policy import holds_identity


def kept_additions(builder: Builder) -> Iterator[LayerTable]:
    """The tables of additions that run although their layers are merged."""
    plans = {plan.layer.name: plan for plan in builder.network.plans}
    for merge in builder.network.merges:
        gate = builder.space.positions.get(("merge", merge.name))
        choice = builder.own_choice(merge.last)
        if not merge.addition or gate is None or choice is None:
            continue
        variable, options = choice
        few = tuple(not holds_identity(bits) for bits in options)
        if any(few):
            plan = plans[merge.addition]
            gates = ((gate, (True, False)), (variable, few), *builder.block_gate(plan))
            yield builder.table(plan, builder.ways(plan), gates)
