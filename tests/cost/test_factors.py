"""Tables joined into lookups, and their columns, whose order one definition tells."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from automl.cost import Cost, factors
from automl.cost.factors import (
    BYTES,
    COLUMNS,
    FITTED,
    INTERPOLATED,
    JOULES,
    LATENCY,
    MACS,
    Lookup,
    LookupSum,
    Overhead,
    Prices,
    digest,
    layer_lookup,
    lookup_of,
)
from automl.cost.layer_tables import Builder
from automl.latency.keys import OpKey
from automl.policy.precisions import FP32
from automl.space import Space, build_space
from automl.units import QUANTITIES
from handmade import Formula, network

REVERSED = """
import sys
import automl.units
automl.units.QUANTITIES = automl.units.QUANTITIES[::-1]
import numpy as np
from automl.cost import Budget, Cost, Limit, build_cost_model
from automl.policy import Policy
from automl.solver import solve
from automl.space import build_space
from handmade import Formula, network

space = build_space(network(), round_to=4)
costs = build_cost_model(network(), space, Formula())
dense = costs.dense
budget = Budget((Limit("latency", 0.6 * dense.latency), Limit("macs", 0.8 * dense.macs)))
sensitivity = [np.linspace(1.0, 0.0, size) ** 2 for size in space.sizes]
found = solve(costs, sensitivity, budget)
policy = space.decode(found.vector)
cost, row = costs.cost(policy), Cost.from_row(costs.price(found.vector[None])[0])
assert budget.allows(cost)
for name in automl.units.QUANTITIES:
    np.testing.assert_allclose(row.value(name), cost.value(name), err_msg=name)
print(f"{dense.latency:.9g} {dense.macs:.9g} {dense.bytes:.9g} {found.sensitivity:.9g}")
"""


def test_columns_are_those_of_the_quantities() -> None:
    named = {"latency": LATENCY, "macs": MACS, "bytes": BYTES, "joules": JOULES}
    assert [named[quantity] for quantity in QUANTITIES] == list(range(len(QUANTITIES)))
    assert (*range(COLUMNS),) == (*range(len(QUANTITIES)), INTERPOLATED, FITTED)
    assert set(QUANTITIES) <= {field.name for field in fields(Cost)}
    row = np.arange(len(QUANTITIES), dtype=np.float64)
    assert (Cost.from_row(row).values() == row).all()


def test_nothing_rests_on_the_order_of_the_quantities() -> None:
    """The same prices and the same solution with the one definition turned round."""
    tests = Path(__file__).resolve().parents[1]
    path = f"{tests.parent / 'search'}:{tests}"
    turned = "automl.units.QUANTITIES = automl.units.QUANTITIES[::-1]\n"
    assert turned in REVERSED
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        ).stdout
        for script in (REVERSED, REVERSED.replace(turned, ""))
    ]
    assert said[0] == said[1]


def drawn(*shape: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(size=(*shape, COLUMNS))


def lookup(variables: tuple[int, ...], sizes: list[int], seed: int) -> Lookup:
    return lookup_of(variables, drawn(*(sizes[variable] for variable in variables), seed=seed))


@pytest.mark.parametrize("entries", [1 << 16, 12, 1])
def test_joined_lookups_sum_to_the_same(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "JOINT_ENTRIES", entries)
    sizes = [2, 3, 4]
    lookups = [lookup((0, 1), sizes, 0), lookup((1,), sizes, 1), lookup((2, 0, 1), sizes, 2)]
    joined = factors.join(lookups, sizes)
    choices = np.indices(sizes, dtype=np.int16).reshape(len(sizes), -1)

    def total(each: list[Lookup]) -> NDArray[np.float64]:
        return np.sum([one.rows[one.index(choices)] for one in each], axis=0)

    np.testing.assert_allclose(total(joined), total(lookups))
    assert all(one.joint for one in joined if len(one.rows) <= entries)
    if entries == 1 << 16:
        (one,) = joined
        factor = one.factor(sizes)
        assert factor.scope == (0, 1, 2)
        assert factor.table.shape == (*sizes, len(QUANTITIES))


@pytest.mark.parametrize("count", [0, 1, factors._FEW, factors._FEW + 1])
def test_lookups_at_once_give_bit_by_bit_what_one_after_another_gives(count: int) -> None:
    sizes = [2, 3, 4]
    scopes: list[tuple[int, ...]] = [(0, 1), (), (2, 0, 1), (1,)]
    lookups = [lookup(scope, sizes, seed) for seed, scope in enumerate(scopes)]
    generator = np.random.default_rng(0)
    choices = generator.integers(0, [[size] for size in [*sizes, 1]], (4, count)).astype(np.int16)
    total = np.zeros((count, COLUMNS))
    for one in lookups:
        total += one.rows[one.index(choices)]
    whole = LookupSum(lookups)
    assert np.array_equal(whole.at(choices), total)
    for kept, one in zip(whole.lookups, lookups, strict=True):
        assert kept.steps is one.steps
        assert kept.joint == one.joint
        assert np.array_equal(kept.rows, one.rows)
        assert np.shares_memory(kept.rows, whole._rows)
    assert np.array_equal(LookupSum([]).at(choices), np.zeros((count, COLUMNS)))


def test_prices_are_told_apart_by_six_figures() -> None:
    prices = np.array([[1e-3, np.nan], [2e6, 0.0]])
    assert digest([prices]) == digest([np.nextafter(prices, 9e9)])
    assert digest([prices]) != digest([prices * (1.0 + 1e-5)])
    assert digest([prices]) != digest([prices.reshape(4)])
    assert digest([prices, prices]) != digest([prices])


SIZES = (2, 3, 4)


def drawn_for(*scope: int) -> NDArray[np.float64]:
    return drawn(*(SIZES[variable] for variable in scope), seed=0)


def choices() -> np.ndarray:
    return np.indices(SIZES, dtype=np.int16).reshape(3, -1)


def test_a_lookup_finds_the_row_of_each_assignment() -> None:
    table = drawn_for(2, 0)
    lookup = lookup_of((2, 0), table)
    assert lookup.scope == (0, 2)
    found = lookup.rows[lookup.index(choices())]
    np.testing.assert_array_equal(found, table[choices()[2], choices()[0]])


def test_columns_that_are_not_given_are_zero() -> None:
    lookup = lookup_of((1,), drawn_for(1)[:, :2])
    assert lookup.rows.shape == (3, COLUMNS)
    assert not lookup.rows[:, 2:].any()


def test_a_joint_lookup_is_a_factor_of_the_solver() -> None:
    table = drawn_for(0, 2)
    factor = lookup_of((0, 2), table, joint=True).factor(SIZES)
    assert factor.scope == (0, 2)
    np.testing.assert_array_equal(factor.table, table[..., :4])


def prices(keys: list[OpKey], source: int) -> Prices:
    return {key: (Formula.price(key), source, 2.0 * Formula.price(key)) for key in keys}


@pytest.mark.parametrize("source", [0, 1, 2])
def test_a_layer_s_rows_say_where_its_seconds_came_from(source: int) -> None:
    space = build_space(network(), round_to=8)
    builder = Builder(network(), space, FP32, counts=64)
    table = next(each for each in builder.tables() if each.plan.layer.name == "expand")
    overhead = Overhead(scale=2.0, per_operator=1e-5)
    lookup = layer_lookup(table, prices([*table.operators().keys], source), overhead)
    vector = space.dense.copy()[:, None]
    row = lookup.rows[lookup.index(vector)][0]
    seconds = Formula.price(table.operators().keys[-1])
    assert row[LATENCY] == pytest.approx(2.0 * seconds + 1e-5)
    assert row[INTERPOLATED] == pytest.approx(2.0 * seconds if source == 1 else 0.0)
    assert row[FITTED] == pytest.approx(1e-5 + (2.0 * seconds if source == 2 else 0.0))
    assert row[JOULES] == pytest.approx(2.0 * seconds)
    assert row[MACS] == table.plan.layer.macs
    assert row[BYTES] == 4 * (16 * 24 + 24)
    vector[space.positions["block", "block"]] = 0  # its block is left out: nothing runs
    assert not lookup.rows[lookup.index(vector)].any()


def test_without_prices_the_work_is_known_alone() -> None:
    (table, *_) = Builder(network(), Space(()), FP32, counts=8).tables()
    lookup = layer_lookup(table, {}, Overhead())
    assert lookup.rows[0, MACS] == table.plan.layer.macs
    assert lookup.rows[0, LATENCY] == 0.0
