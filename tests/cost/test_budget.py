"""Budgets: limits as written made absolute, and costs held to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from automl.cost import Budget, Cost, CostModel, Limit, build_cost_model, resolve_budget
from automl.errors import UsageError
from automl.space import build_space
from automl.units import BudgetText
from handmade import Formula, network


def model(counts: int = 1 << 9) -> CostModel:
    traced = network()
    return build_cost_model(traced, build_space(traced, round_to=2), Formula(), counts=counts)


def test_budgets_are_resolved_against_the_dense_model() -> None:
    dense = Cost(0.02, 100e6, 8e6)
    budget = resolve_budget(
        [
            BudgetText("latency", 0.5, True),
            BudgetText("latency", 0.008, False),
            BudgetText("bytes", 0.25, True),
        ],
        dense,
    )
    assert budget.limits == (Limit("latency", 0.008), Limit("bytes", 2e6))
    assert str(budget) == "8.00 ms and 2.00 MB"
    assert budget.allows(Cost(0.008, 1e9, 2e6))
    assert not budget.allows(Cost(0.009, 1e6, 1e6))
    assert budget.excess(Cost(0.004, 0, 3e6)) == 0.5
    assert budget.excess(Cost(0.004, 0, 1e6)) == 0.0
    assert budget.excess(Cost(math.nan, 0, 0)) == math.inf
    assert Budget(()).allows(dense)


def test_cycles_and_seconds_are_not_each_other() -> None:
    dense = Cost(2e6, 100e6, 8e6)
    half = resolve_budget([BudgetText("latency", 0.5, True)], dense, unit="cycles")
    assert str(half) == "1.00 Mcycles"
    with pytest.raises(UsageError, match="cycles and no time: write 5Mcycles or 50%"):
        resolve_budget([BudgetText("latency", 0.01, False)], dense, unit="cycles")
    with pytest.raises(UsageError, match="knows time: write 10ms or 50%"):
        resolve_budget([BudgetText("latency", 1e6, False, "cycles")], dense)


def test_budgets_judge_arrays_as_they_judge_one() -> None:
    budget = Budget((Limit("latency", 1.0), Limit("macs", 5.0)))
    rows = np.array([[1.0, 5.0, 9.0, np.nan], [1.5, 1.0, 0.0, 0.0], [0.5, 10.0, 0.0, 0.0]])
    assert budget.allows_all(rows).tolist() == [True, False, False]
    assert budget.excess_all(rows).tolist() == [0.0, 0.5, 1.0]


def test_a_latency_without_some_operator_is_no_proof() -> None:
    cost = Cost(1.0, 2.0, 3.0, unpriced=("_cdist_forward in head",))
    assert not Budget((Limit("latency", 5.0),)).allows(cost)
    assert Budget((Limit("macs", 5.0), Limit("bytes", 5.0))).allows(cost)
    for relative in (True, False):
        with pytest.raises(UsageError, match="_cdist_forward in head holds weights and has no"):
            resolve_budget([BudgetText("latency", 0.5, relative)], cost)
    assert resolve_budget([BudgetText("macs", 0.5, True)], cost).limits[0].value == 1.0
