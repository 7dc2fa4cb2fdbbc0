"""Filling a table: only what is missing, kept as it comes in, never mixed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from recorded_runner import RecordedRunner

from automl.errors import MeasureError, TableError
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.profiling.profile import ANCHOR, measure_models, profile
from automl.profiling.runner import Measured

HEADER = TableHeader(
    name="board", device="Board", runtime="onnxruntime", runtime_version="1.0", threads=1
)
KEYS = [OpKey("linear", 8, width) for width in range(8, 48)]


@pytest.fixture
def table(tmp_path: Path) -> LatencyTable:
    return LatencyTable.create(tmp_path / "board.jsonl", HEADER)


def test_only_what_is_missing_is_measured(table: LatencyTable, runner: RecordedRunner) -> None:
    table.append([Row(KEYS[0], 1e-6)])
    told: list[tuple[int, int]] = []
    report = profile(
        table, KEYS * 2, runner, progress=lambda done, total, row: told.append((done, total))
    )
    assert report.measured == len(KEYS) - 1
    assert told[-1] == (len(KEYS) - 1, len(KEYS) - 1)
    assert table.lacks(KEYS) == ()
    assert table.lookup(KEYS[:1]).seconds[0] == 1e-6
    before = runner.answers
    assert profile(table, KEYS, runner).measured == 0
    assert runner.answers == before


def test_rows_survive_an_interruption(table: LatencyTable, runner: RecordedRunner) -> None:
    def interrupt(count: int) -> None:
        if count == 20:
            raise KeyboardInterrupt

    runner.on_answer = interrupt
    with pytest.raises(KeyboardInterrupt):
        profile(table, KEYS, runner)
    assert table.path is not None
    resumed = LatencyTable.read(table.path)
    finished = len(KEYS) - len(resumed.lacks(KEYS))
    assert 0 < finished < 20
    runner.on_answer = lambda count: None
    assert profile(resumed, KEYS, runner).measured == len(KEYS) - finished


def test_refusals_are_reported_and_the_rest_measured(
    table: LatencyTable, runner: RecordedRunner
) -> None:
    profile(table, KEYS[:1], runner)  # the anchor is there
    first = runner.answers + 2  # after one look at the anchor
    runner.on_answer = lambda count: (
        Measured(0, math.nan, math.nan, 0, "not for me") if count == first else None
    )
    odd = OpKey("linear", 8, 8, precision="w4a6")
    report = profile(table, [*KEYS, odd], runner)
    assert "w4a6" in report.refused[odd]
    assert "not for me" in report.refused[KEYS[1]]
    assert set(table.lacks([*KEYS, odd])) == {odd, KEYS[1]}


def test_when_the_time_is_up_the_rest_is_left(table: LatencyTable, runner: RecordedRunner) -> None:
    report = profile(table, KEYS, runner, seconds_cap=0.0)
    assert report.left == tuple(KEYS)
    assert report.measured == 0


def test_rows_of_a_slower_machine_say_so(
    table: LatencyTable, runner: RecordedRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    table.append([Row(ANCHOR, 1e-12)])
    report = profile(table, KEYS[:3], runner)
    assert report.doubtful == 3
    assert (table.lookup(KEYS[:3]).spread > 1.0).all()


@pytest.mark.parametrize(
    "change", [{"runtime": "ncnn"}, {"runtime_version": "2.0"}, {"threads": 4}]
)
def test_conditions_do_not_mix(runner: RecordedRunner, change: dict[str, object]) -> None:
    table = LatencyTable(HEADER.model_copy(update=change))
    with pytest.raises(TableError, match="do not mix"):
        profile(table, KEYS, runner)


def test_whole_networks(runner: RecordedRunner) -> None:
    found = measure_models({"long": b"12345", "short": b"1"}, runner)
    assert list(found) == ["long", "short"]
    assert found["long"].seconds == pytest.approx(5e-9)
    runner.on_answer = lambda count: Measured(0, math.nan, math.nan, 0, "too large")
    with pytest.raises(MeasureError, match="refuses long: too large"):
        measure_models({"long": b"12345"}, runner)
