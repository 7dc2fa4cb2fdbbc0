"""What layers add to a latency is what the cost model has in all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from automl.cost import CONVERSIONS, Overhead, build_cost_model, time_layers
from automl.latency.keys import MISSING, OpKey, Timings
from automl.policy.policy import Bits, Policy
from automl.policy.precisions import Precisions
from automl.space import build_space
from bits_networks import Prices, traced

TARGET = Precisions(("fp32", "int8"))


def test_layers_add_up_to_the_whole_of_each_policy() -> None:
    halves = {group.name: group.channels // 2 for group in traced().network.groups}
    space = build_space(traced().network, precisions=TARGET.bits, round_to=halves)
    overhead = Overhead(1.25, 1e-6, 3e-5, 1.5)
    costs = build_cost_model(
        traced().network, space, Prices(), precisions=TARGET, overhead=overhead
    )
    for vector in space.random(30, np.random.default_rng(5)):
        policy = space.decode(vector)
        found = time_layers(traced().network, policy, Prices(), overhead, TARGET)
        whole = sum(each.seconds or 0.0 for each in found.values()) + overhead.constant
        assert whole == pytest.approx(costs.cost(policy).latency, rel=1e-9)


def test_conversions_have_a_line_of_their_own() -> None:
    network = traced().network
    owners = [plan.owner for plan in network.plans if plan.owner]
    rounded = Policy(bits={owners[0]: Bits(8, 8)})
    found = time_layers(network, rounded, Prices(), Overhead(), TARGET)
    assert CONVERSIONS in found
    assert CONVERSIONS not in time_layers(network, Policy(), Prices(), Overhead(), TARGET)


class Without(Prices):
    """Prices without any for one operator."""

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        timings = super().lookup(keys)
        for place, key in enumerate(keys):
            if key.op == "linear":
                timings.seconds[place], timings.source[place] = np.nan, MISSING
        return timings


def test_a_layer_without_a_price_has_no_seconds() -> None:
    found = time_layers(traced().network, Policy(), Without(), Overhead(), TARGET)
    unknown = [name for name, each in found.items() if each.seconds is None]
    linear = [p.layer.name for p in traced().network.plans if p.layer.op == "linear"]
    assert unknown == linear
    assert {found[name].source for name in linear} == {"unknown"}
