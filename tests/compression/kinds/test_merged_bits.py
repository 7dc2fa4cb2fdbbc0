"""Bits of a merged layer are measured on the layer that it is, and the solver counts them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from automl.compression import measure_sensitivity
from automl.cost import Budget, Limit, build_cost_model
from automl.policy import Bits, Policy
from automl.solver import solve
from automl.testing.networks import loss
from bits_networks import FLOAT, Prices
from merged_networks import TARGET, chain, made, space_of


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 8), Bits(3, 32)])
def test_it_is_measured_as_the_layer_that_it_becomes(bits: Bits) -> None:
    maker = made("qdq-u8s8")
    alone = (bits.weights,) * (bits.activations == 32)
    space = space_of(chain(), precisions=(FLOAT,) if alone else (bits, FLOAT), weight_only=alone)
    found = measure_sensitivity(
        maker.database, space, maker.images[:], rounded=maker.joint, merging=maker.merging
    )
    pairs = dict(found.pairwise)
    for name, last in (("a", "b"), ("b", "c"), ("body.expand", "body.project")):
        merge, rounded = space.positions["merge", name], space.positions["bits", last]
        table = pairs[merge, rounded]
        assert np.count_nonzero(table) == 1
        policy = Policy(bits={last: bits}, further={"merge": {name: "merged"}})
        summed = found.single[merge][0] + found.single[rounded][0] + table[0, 0]
        made_of_it = loss(maker, maker.make(policy, finish=False), maker.images[:])
        assert summed == pytest.approx(made_of_it, rel=0.2)
        if alone and name != "a":  # those weights, of all rows that the walk takes
            assert summed == pytest.approx(made_of_it, rel=1e-4)


@pytest.mark.parametrize("share", [0.45, 0.6, 0.8])
def test_the_optimum_is_that_of_all_policies(share: float) -> None:
    maker = made("qdq-u8s8")
    space = space_of(chain(), depth=False)
    costs = build_cost_model(chain().network, space, Prices(), precisions=TARGET)
    known = measure_sensitivity(
        maker.database, space, maker.images[:], rounded=maker.joint, merging=maker.merging
    )
    grid = np.array([*itertools.product(*map(range, space.sizes))], dtype=np.int16)
    grid = np.unique(space.canonical(grid), axis=0)
    budget = Budget((Limit("latency", share * costs.dense.latency),))
    fits = grid[budget.allows_all(costs.price(grid))]
    lost = sum(row[column] for row, column in zip(known.single, fits.T, strict=True))
    lost = lost + sum(table[fits[:, a], fits[:, b]] for (a, b), table in known.pairwise)
    found = solve(costs, known.single, budget, pairwise=known.pairwise)
    assert found.sensitivity == pytest.approx(lost.min())
