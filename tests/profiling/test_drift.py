"""Whether devices are as quick as when they began: one to the table, several to themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded_boards import RecordedBoard
from recorded_runner import RecordedRunner

from automl.latency.header import TableHeader
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.profiling.boards import Boards
from automl.profiling.drift import Drift
from automl.profiling.microbench import probe
from automl.profiling.pool import PooledRunner
from automl.profiling.runtimes import ANCHOR

ANCHORED = (ANCHOR, probe(ANCHOR))


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LatencyTable:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    header = TableHeader(name="board", device="Board", runtime="onnxruntime")
    return LatencyTable.create(tmp_path / "board.jsonl", header)


def test_one_device_is_held_to_the_tables_row(table: LatencyTable, runner: RecordedRunner) -> None:
    drift = Drift(table, Boards(runner), ANCHORED)
    row = table.row(ANCHOR)
    assert row is not None
    assert row.board == ""
    assert drift.slower() == {"": 0.0}
    slow = LatencyTable(table.header, [Row(ANCHOR, row.seconds / 1.5)])
    answers = runner.answers
    drift = Drift(slow, Boards(runner), ANCHORED)
    assert runner.answers == answers  # the row is there: nothing to measure
    assert drift.slower()[""] == pytest.approx(0.5)


def test_each_of_several_is_held_to_itself(table: LatencyTable) -> None:
    slow = RecordedBoard("b", 1.3)
    with PooledRunner([RecordedBoard("a"), slow]) as pool:
        drift = Drift(table, Boards(pool), ANCHORED)
        row = table.row(ANCHOR)
        assert row is not None
        assert row.board == "a"
        assert drift.slower() == {"a": 0.0, "b": 0.0}  # as slow as it was
        slow.factor = 1.3 * 1.2
        found = drift.slower()
    assert found["a"] == 0.0
    assert found["b"] == pytest.approx(0.2)


def test_all_together_are_held_to_the_tables_row(table: LatencyTable) -> None:
    with PooledRunner([RecordedBoard("a"), RecordedBoard("b", 1.1)]) as pool:
        Drift(table, Boards(pool), ANCHORED)
    with PooledRunner([RecordedBoard("a", 1.5), RecordedBoard("b", 1.65)]) as pool:
        found = Drift(table, Boards(pool), ANCHORED).slower()
    assert found == {"a": pytest.approx(0.5), "b": pytest.approx(0.5)}
