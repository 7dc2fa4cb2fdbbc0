"""Searches that measure what their best candidates use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from board import Board, board_of
from tiny import request, seconds

from automl import pipeline
from automl.cost import required_keys
from automl.cost.operators import operators_of
from automl.errors import InfeasibleError, TargetError
from automl.latency.gaussian import most_telling
from automl.latency.keys import op_key
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.latency.targets import find_table
from automl.network.traced_model import trace_network
from automl.pipeline.measure_loop import PRICES
from automl.policy.file import read_policy
from automl.policy.precisions import FP32
from automl.space.build import build_space


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """A user's table without rows, fitted, and the board that it is of."""
    return board_of(tmp_path, monkeypatch)


def measured(out: Path, table: LatencyTable) -> list[bool]:
    """Of each operator of the policy in a run folder, whether it was measured."""
    asked = request("my-board", out, "60%")
    network = trace_network(asked.task.model, asked.task.input_shape,
                           resolutions=asked.resolutions).network  # fmt: skip
    policy = read_policy(out / "policy.json").policy
    rows = [table.row(key) for key in operators_of(network, policy, FP32)]
    return [row is not None and row.source == "measured" for row in rows]


def test_the_winner_rests_on_measured_rows(board: Board, tmp_path: Path) -> None:
    asked = request("my-board", tmp_path / "run", "60%", measure=True)
    result = pipeline.search(asked)
    table = find_table("my-board")
    assert all(measured(tmp_path / "run", table))
    assert any("the winner rests on measured rows alone" in note for note in result.notes)
    assert any(
        f"{len(table) - 1} operators were measured: the" in note for note in result.notes
    )  # and the anchor
    predicted = result.policy.predicted
    assert predicted.measured == pytest.approx(1.0)
    policy = result.policy.policy
    network = trace_network(asked.task.model, asked.task.input_shape,
                           resolutions=asked.resolutions).network  # fmt: skip
    layers = network.shapes(policy.channels, policy.removed, policy.resolution)
    assert predicted.latency_seconds == pytest.approx(sum(seconds(op_key(one)) for one in layers))
    assert result.compressed.predicted_seconds <= 0.6 * result.dense.predicted_seconds  # type: ignore[operator]
    assert board.opened == 1
    again = pipeline.search(replace(asked, out=tmp_path / "again"))
    assert any("no operator had to be measured:" in note for note in again.notes)
    assert again.policy.channels == result.policy.channels
    assert board.opened == 1  # the board was not needed


def test_what_is_refused_is_said(board: Board, tmp_path: Path) -> None:
    board.refuses = "linear"
    result = pipeline.search(request("my-board", tmp_path / "run", "60%", measure=True))
    assert any("of the winner's were not and are predicted" in note for note in result.notes)
    assert "linear is not measured: the runtime refuses it: not supported" in result.notes
    assert measured(tmp_path / "run", find_table("my-board")).count(False) == 1


def test_rows_of_others_stay(board: Board, tmp_path: Path) -> None:
    asked = request("my-board", tmp_path / "run", "60%", measure=True)
    network = trace_network(asked.task.model, asked.task.input_shape,
                           resolutions=asked.resolutions).network  # fmt: skip
    table = find_table("my-board")
    head = next(op_key(layer) for layer in network.layers if layer.op == "linear")
    table.append([Row(head, 1e-6, source="fitted")])
    noted = {"runtime_version": "1.31", "device": "Chip"}
    table.set_header(table.header.model_copy(update=noted))
    result = pipeline.search(asked)
    assert any("its row was fitted or interpolated by others" in note for note in result.notes)


def test_a_resumed_search_goes_by_the_prices_that_it_began_with(
    board: Board, tmp_path: Path
) -> None:
    asked = request("my-board", tmp_path / "run", "60%", measure=True, agent="random", trials=3)
    first = pipeline.search(asked)
    kept = LatencyTable.read(tmp_path / "run" / PRICES)
    assert {row.source for row in kept.rows} >= {"measured", "fitted"}
    # Others measure meanwhile what this one had only predicted.
    table = find_table("my-board")
    left = [row.key for row in kept.rows if row.key not in table]
    table.append([Row(key, seconds(key), 0.01, 9) for key in left])
    result = pipeline.search(replace(asked, resume=True, trials=5))
    assert result.trials == 5
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    scored = [found["trial"] for found in map(json.loads, lines) if "trial" in found]
    assert scored == list(range(first.trials)) + list(range(first.trials, 5))


def test_a_budget_is_refused_by_measured_prices_alone(board: Board, tmp_path: Path) -> None:
    asked = request("my-board", tmp_path / "run", "1%", measure=True)
    network = trace_network(asked.task.model, asked.task.input_shape,
                           resolutions=asked.resolutions).network  # fmt: skip
    space = build_space(network, round_to=4, resolutions=(12, 16))
    table = find_table("my-board")
    noted = {"runtime_version": "1.31", "device": "Chip", "coefficients": None}
    table.set_header(table.header.model_copy(update=noted))
    first = most_telling(required_keys(network, space), [], 12)
    table.append([Row(key, seconds(key), 0.01, 9) for key in first])
    with pytest.raises(InfeasibleError) as refused:
        pipeline.search(asked)
    smallest = space.decode(np.zeros_like(space.dense))
    layers = network.shapes(smallest.channels, smallest.removed, smallest.resolution)
    truth = sum(seconds(op_key(one)) for one in layers)
    assert refused.value.least["latency"] == pytest.approx(truth, rel=1e-6)
    keys = required_keys(network, space)
    assert len(find_table("my-board").lacks(keys)) > len(keys) / 4  # they were not needed


def test_shipped_tables_are_not_written_to(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="my-rpi4"):
        pipeline.search(request("rpi4", tmp_path / "run", "60%", measure=True))
