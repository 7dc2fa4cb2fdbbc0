"""Tables joined into lookups, and their columns, whose order one definition tells."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from automl.cost import factors
from automl.cost.factors import (
    BYTES,
    COLUMNS,
    FITTED,
    INTERPOLATED,
    JOULES,
    LATENCY,
    MACS,
    Lookup,
    digest,
)
from automl.cost.model import Cost
from automl.units import QUANTITIES

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
    shape = [sizes[variable] for variable in variables]
    strides = [int(np.prod(shape[place + 1 :])) for place in range(len(shape))]
    steps = tuple(
        (variable, stride * np.arange(sizes[variable]))
        for variable, stride in zip(variables, strides, strict=True)
    )
    return Lookup(steps, drawn(int(np.prod(shape)), seed=seed))


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


def test_prices_are_told_apart_by_six_figures() -> None:
    prices = np.array([[1e-3, np.nan], [2e6, 0.0]])
    assert digest([prices]) == digest([np.nextafter(prices, 9e9)])
    assert digest([prices]) != digest([prices * (1.0 + 1e-5)])
    assert digest([prices]) != digest([prices.reshape(4)])
    assert digest([prices, prices]) != digest([prices])
