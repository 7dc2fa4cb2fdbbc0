"""Energy as a budget: where a table knows it of every operator, and only there."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import request, seconds, tiny_network, write_table

from automl.cost import build_cost_model, resolve_budget
from automl.errors import InfeasibleError, UsageError
from automl.latency.keys import OpKey, op_key
from automl.latency.table import LatencyTable
from automl.pipeline import search
from automl.policy.file import read_policy
from automl.space import build_space
from automl.units import parse_budget


def joules(key: OpKey) -> float:
    """Energy that does not follow the time: reading channels costs, writing them does not."""
    return 1e-6 + 1e-7 * key.in_channels


@pytest.fixture
def table(tmp_path: Path) -> LatencyTable:
    plain = LatencyTable.read(write_table(tmp_path / "plain.jsonl"))
    rows = [replace(row, joules=joules(row.key)) for row in plain.rows]
    header = plain.header.model_copy(update={"name": "energy"})
    return LatencyTable.create(tmp_path / "energy.jsonl", header, rows)


def test_the_energy_of_a_policy_is_that_of_its_operators(table: LatencyTable) -> None:
    network = tiny_network()
    space = build_space(network, round_to=4)
    costs = build_cost_model(network, space, table)
    assert costs.energy[0] == costs.energy[1] > 0
    vectors = space.random(20, np.random.default_rng(0))
    priced = costs.price(vectors)[:, 3]
    for vector, found in zip(vectors, priced, strict=True):
        policy = space.decode(vector)
        layers = network.shapes(policy.channels, policy.removed, policy.resolution)
        keys = [op_key(layer) for layer in layers]
        assert found == pytest.approx(sum(map(joules, keys)))
        cost = costs.cost(policy)
        assert cost.joules == pytest.approx(found)
        assert cost.latency == pytest.approx(sum(map(seconds, keys)))
        assert cost.measured == pytest.approx(1.0)
    factors, whole = costs.factors()
    assert whole
    assert sum(len(factor.scope) for factor in factors) > 0
    assert costs.constant[3] == 0.0


def test_a_search_within_millijoules(table: LatencyTable, tmp_path: Path) -> None:
    asked = request(tmp_path / "energy.jsonl", tmp_path / "run", "0.009mJ")
    result = search(asked)
    assert result.dense.joules is not None
    assert result.compressed.joules is not None
    assert result.compressed.joules <= 9e-6 < result.dense.joules
    predicted = read_policy(result.policy_path).predicted
    assert predicted.joules == pytest.approx(result.compressed.joules)
    with pytest.raises(InfeasibleError, match="mJ"):
        search(request(tmp_path / "energy.jsonl", tmp_path / "none", "0.001mJ"))


def test_holes_are_refused_with_how_many(table: LatencyTable) -> None:
    network = tiny_network()
    space = build_space(network, round_to=4)
    rows = [replace(row, joules=math.nan) if row.key.op == "linear" else row for row in table.rows]
    costs = build_cost_model(network, space, LatencyTable(table.header, rows))
    known, asked = costs.energy
    assert 0 < known < asked
    assert math.isnan(costs.dense.joules)
    assert np.isfinite(costs.price(space.dense[None])[:, :3]).all()
    with pytest.raises(UsageError, match=f"energy of {known} of {asked} operators"):
        resolve_budget([parse_budget("5mJ")], costs.dense, costs.energy)


def test_a_table_without_energy(tmp_path: Path) -> None:
    asked = request(write_table(tmp_path / "board.jsonl"), tmp_path / "run", "50%energy")
    with pytest.raises(UsageError, match="no prices for joules: it cannot be limited"):
        search(asked)
