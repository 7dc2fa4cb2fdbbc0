"""A traced residual network whose layers' bits are chosen, and its price counted another way."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression import adding_chains, merged_chains
from automl.latency.keys import OpKey, Timings, op_key
from automl.network import merged_plans, merged_trace
from automl.network.operators import base_name
from automl.network.precision import Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits, Policy
from automl.policy.precisions import is_float

INT8, FLOAT = Bits(8, 8), Bits()


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + x)


class Residual(nn.Module):
    """A stem, two blocks, a wider layer behind SiLU (always float), one more block, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.early = nn.Sequential(Block(8), Block(8))
        self.wide = nn.Conv2d(8, 12, 1)
        self.late = nn.Sequential(Block(12))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.early(F.relu(self.stem(x)))
        x = self.late(F.silu(self.wide(x)))
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


@cache
def traced() -> TracedModel:
    torch.manual_seed(0)
    return trace_network(Residual().eval(), (1, 3, 8, 8), resolutions=())


class Prices:
    """Every operator, precision and direction of conversion has a price of its own."""

    def __init__(self) -> None:
        self.asked: list[OpKey] = []

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        self.asked += keys
        seconds = np.array([self.price(key) for key in keys])
        return Timings(seconds, np.zeros(len(keys)), np.zeros(len(keys), dtype=np.int8))

    @staticmethod
    def price(key: OpKey) -> float:
        area = key.out_size[0] * key.out_size[1]
        elements = area * (key.in_channels + key.out_channels)
        if key.op == "convert":
            assert key.precision == "int8"
            return 1e-9 * elements * {"quantize": 3.0, "dequantize": 2.0}[key.detail]
        return (1e-6 + 1e-9 * (key.macs + elements)) * {"fp32": 1.0, "int8": 0.4}[key.precision]


def counted(policy: Policy, read: TracedModel | None = None) -> float:
    """Seconds, with the owners and the values of the network that the policy leaves."""
    read = read or traced()
    made = merged_chains(read, policy)
    sums = adding_chains(read.network, policy, made)
    flow = Flow(merged_trace(read.trace, read.model, made, sums), policy.removed)
    channels = read.network.dense_channels | dict(policy.channels)

    def floats(owner: str) -> bool:
        return is_float(policy.bits.get(owner, FLOAT))

    followers, count = {}, Counter[str]()
    for call in read.trace.calls:
        name = base_name(call.step.op)
        count[name] += 1
        followers[f"{name}_{count[name]}"] = flow.owner(call)
    seconds = 0.0
    merges = [each for each in read.network.merges if {*each.chain} <= {*itertools.chain(*made)}]
    gone = {layer for each in merges for layer in each.layers}
    gone |= {each.addition for each in merges if each.chain in sums}
    for each in merged_plans(read.network):
        if each.chain in made:
            precision = "fp32" if floats(each.chain[-1]) else "int8"
            seconds += Prices.price(op_key(each.plan.at(channels, -1), precision))
    for plan in read.network.plans:
        if plan.block not in policy.removed and plan.layer.name not in gone:
            name = plan.layer.name
            owner = name if plan.owner == name else followers.get(name, "")
            precision = "fp32" if floats(owner) else "int8"
            seconds += Prices.price(op_key(plan.at(channels, -1), precision))
    plans = {each.value: each.plan for each in read.network.boundaries}
    done = set()
    for place in flow.places.values():
        for operand in place.operands:
            written, read_as = floats(operand.owner), floats(place.owner)
            if written != read_as and (operand.origin, read_as) not in done:
                done.add((operand.origin, read_as))
                layer = plans[".".join(map(str, operand.origin))].at(channels, -1)
                direction = "quantize" if written else "dequantize"
                key = OpKey(**{**_fields(op_key(layer)), "detail": direction, "precision": "int8"})
                seconds += Prices.price(key)
    return seconds


def _fields(key: OpKey) -> dict[str, object]:
    return {name: getattr(key, name) for name in OpKey.__slots__}
