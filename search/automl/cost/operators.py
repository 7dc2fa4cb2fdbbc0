"""The operators that one policy's network runs."""

from __future__ import annotations

import numpy as np

from automl.cost.conversions import add_auxiliary, conversions
from automl.cost.layer_tables import Builder
from automl.latency import OpKey
from automl.network import Network
from automl.policy import Policy, Precisions, bits_of, fineness
from automl.space import Space, Variable


def operators_of(network: Network, policy: Policy, precisions: Precisions) -> list[OpKey]:
    """Operators and conversions of a policy's network, each once."""
    dense = bits_of(precisions.dense)
    offered = tuple(sorted({*policy.bits.values(), dense}, key=fineness))
    layers = {plan.owner for plan in network.plans} - {""} if policy.bits else ()
    variables = [Variable("resolution", "", (policy.resolution or network.resolutions[-1],))]
    variables += [Variable("block", block.name, (0, 1)) for block in network.blocks]
    variables += [Variable("channels", each, (kept,)) for each, kept in policy.channels.items()]
    variables += [Variable("bits", name, offered) for name in sorted(layers)]
    builder, block_outputs = add_auxiliary(
        Builder(network, Space(tuple(variables)), precisions, counts=1)
    )
    chosen = [0] * (len(variables) + len(block_outputs))
    for number, variable in enumerate(variables):
        if variable.kind == "block":
            chosen[number] = int(variable.name not in policy.removed)
        elif variable.kind == "bits":
            chosen[number] = offered.index(policy.bits.get(variable.name, dense))
    choices = np.array(chosen, dtype=np.int16)[:, None]
    for number, each in enumerate(block_outputs, start=len(variables)):
        choices[number] = each.follow(choices)
    tables = (*builder.tables(), *conversions(builder))
    found = (table.key_of(choices[:, 0].tolist()) for table in tables)
    return [key for key in dict.fromkeys(found) if key is not None]
