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


@pytest.mark.parametrize(
    ("bits", "off"), [(Bits(3, 32), 1e-4), (Bits(4, 8), 0.01), (Bits(8, 8), 0.01)]
)
@pytest.mark.parametrize("merged", [("a",), ("b",), ("a", "b")])
def test_two_in_a_row_are_measured_with_the_bits_of_what_both_become(
    bits: Bits, off: float, merged: tuple[str, ...]
) -> None:
    """All terms of a policy are what is lost; with 3 bits the second merge's own were 6 % off."""
    maker = made("qdq-u8s8")
    alone = (bits.weights,) * (bits.activations == 32)
    space = space_of(chain(), precisions=(FLOAT,) if alone else (bits, FLOAT), weight_only=alone)
    found = measure_sensitivity(
        maker.database, space, maker.images[:], rounded=maker.joint, merging=maker.merging
    )
    policy = Policy(bits={"c": bits}, further={"merge": dict.fromkeys(merged, "merged")})
    vector = space.encode(policy)
    summed = sum(row[option] for row, option in zip(found.single, vector, strict=True))
    summed += sum(table[tuple(vector[[*some]])] for some, table in found.pairwise)
    made_of_it = loss(maker, maker.make(policy, finish=False), maker.images[:])
    # of what is merged alone, c stays a layer by itself: two choices are added up
    assert summed == pytest.approx(made_of_it, rel=0.03 if merged == ("a",) else off)


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
    lost = lost + sum(table[tuple(fits[:, [*some]].T)] for some, table in known.pairwise)
    found = solve(costs, known.single, budget, pairwise=known.pairwise)
    assert found.sensitivity == pytest.approx(lost.min())
