"""Filling a table: only what is missing, kept as it comes in, never mixed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from recorded_boards import RecordedBoard
from recorded_runner import INFO, RecordedRunner

from automl.errors import MeasureError, TableError
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.profiling.device import Conditions
from automl.profiling.measuring import disagreements, measure_models, profile
from automl.profiling.pool import PooledRunner
from automl.profiling.runner import Limits, Measurement, Probe
from automl.profiling.runtimes import ANCHOR

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


def test_the_form_of_integer_rows_is_noted_and_kept(
    table: LatencyTable, runner: RecordedRunner
) -> None:
    profile(table, KEYS[:1], runner)
    assert table.header.scheme is None
    integer = [replace(key, precision="int8") for key in KEYS[:2]]
    profile(table, integer[:1], runner)
    assert table.header.scheme == "qdq-u8s8"
    assert table.path is not None
    assert LatencyTable.read(table.path).header.scheme == "qdq-u8s8"
    table.set_header(table.header.model_copy(update={"scheme": "qdq-s8s8"}))
    profile(table, integer, runner)
    assert table.header.scheme == "qdq-s8s8"
    assert table.lacks(integer) == ()


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


def test_what_another_process_measures_meanwhile_is_not_measured_again(
    table: LatencyTable, runner: RecordedRunner
) -> None:
    """Its rows stay, one of the batch in hand among them, and later ones cost no time."""
    keys = [OpKey("linear", 8, width) for width in range(8, 208)]
    assert table.path is not None
    other = LatencyTable.read(table.path)
    answered: list[int] = []

    def measured_elsewhere(count: int) -> None:
        answered.append(count)
        if len(answered) == 10:
            other.append([Row(key, 9e-6) for key in other.lacks(keys)[5:]])

    runner.on_answer = measured_elsewhere
    report = profile(table, keys, runner)
    assert table.lacks(keys) == ()
    assert report.measured < 64
    assert len(answered) < 100
    read = LatencyTable.read(table.path)
    assert len(read) == len(table)
    assert read.lookup(keys[-1:]).seconds[0] == 9e-6


def test_refusals_are_reported_and_the_rest_measured(
    table: LatencyTable, runner: RecordedRunner
) -> None:
    profile(table, KEYS[:1], runner)  # the anchor is there
    first = runner.answers + 2  # after one look at the anchor
    runner.on_answer = lambda count: (
        Measurement(0, math.nan, math.nan, 0, "not for me") if count == first else None
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


@dataclass
class BusyMachine(RecordedRunner):
    """A machine that other work makes slower."""

    factor: float = 1.0

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        for each in super().run(probes, limits):
            yield replace(each, seconds=self.factor * each.seconds)


def test_rows_of_a_slower_machine_are_measured_again_when_it_is_quiet(
    table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    machine = BusyMachine()
    profile(table, KEYS[:1], machine)
    machine.factor = 3.0
    report = profile(table, KEYS[:5], machine)
    assert (report.measured, report.again, report.doubtful) == (4, 0, 4)
    assert table.path is not None
    late = LatencyTable.read(table.path)
    assert late.doubtful(KEYS) == tuple(KEYS[1:5])
    assert late.row(KEYS[1]) == table.row(KEYS[1])
    machine.factor = 1.0
    report = profile(late, KEYS[:6], machine)
    assert (report.measured, report.again, report.doubtful) == (1, 4, 0)
    for found in (late, LatencyTable.read(table.path)):
        assert found.doubtful(KEYS) == ()
        assert (found.lookup(KEYS[:6]).spread < 0.1).all()
        assert {row.key for row in found.rows} == {ANCHOR, *KEYS[:6]}
        assert found.row(KEYS[1]) != table.row(KEYS[1])
    table.append([Row(KEYS[9], 1e-6)])  # by who still knows the old rows
    assert LatencyTable.read(table.path).doubtful(KEYS) == ()
    answered = machine.answers
    assert profile(late, KEYS[:6], machine).again == 0
    assert machine.answers == answered


def test_what_was_measured_late_is_measured_again_in_the_end_of_the_same_profile(
    table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    machine, measured = BusyMachine(), []
    profile(table, KEYS[:1], machine)
    machine.factor = 3.0

    def told(done: int, total: int, row: Row) -> None:
        measured.append(row)
        machine.factor = 1.0 if len(measured) > 3 else 3.0

    report = profile(table, KEYS, machine, progress=told)
    assert report.again == sum(row.slower > 0 for row in measured) > 0
    assert report.doubtful == 0


def test_on_a_gpu_batches_are_short_and_the_anchor_is_of_the_table(tmp_path: Path) -> None:
    runner = RecordedRunner(info=replace(INFO, runtime="tensorrt"))
    header = HEADER.model_copy(update={"runtime": "tensorrt", "precisions": ("fp16",)})
    table = LatencyTable.create(tmp_path / "gpu.jsonl", header)
    keys = [replace(key, precision="fp16") for key in KEYS[:20]]
    profile(table, keys, runner)
    assert [size for size in runner.batches if size > 1] == [8, 8, 4]
    (anchor,) = (row.key for row in table.rows if row.key not in keys)
    assert anchor.precision == "fp16"


def test_a_runtime_that_takes_no_operators_says_so(tmp_path: Path) -> None:
    header = HEADER.model_copy(update={"runtime": "litert"})
    table = LatencyTable.create(tmp_path / "lite.jsonl", header)
    with pytest.raises(MeasureError, match=r"LiteRT runs no ONNX"):
        profile(table, KEYS, RecordedRunner(info=replace(INFO, runtime="litert")))


@pytest.mark.parametrize(
    "change", [{"runtime": "ncnn"}, {"runtime_version": "2.0"}, {"threads": 4}]
)
def test_conditions_do_not_mix(runner: RecordedRunner, change: dict[str, object]) -> None:
    table = LatencyTable(HEADER.model_copy(update=change))
    with pytest.raises(TableError, match="do not mix"):
        profile(table, KEYS, runner)


STATE = Conditions("Board", 4, "performance", 1.8e9, 50.0, "15W", 1.8e9)


def with_state(**more: object) -> RecordedRunner:
    state = replace(STATE, **more)  # type: ignore[arg-type]
    return RecordedRunner(replace(INFO, conditions=state), state=state)


def test_conditions_are_noted_before_the_first_row(table: LatencyTable) -> None:
    table.set_header(table.header.model_copy(update={"device": "my-board"}))
    profile(table, KEYS[:2], with_state())
    assert table.path is not None
    header = LatencyTable.read(table.path).header
    assert header.clocks == "governor performance, up to 1.80 GHz"
    assert (header.device, header.power_mode) == ("Board", "15W")
    profile(table, KEYS[:4], with_state(temperature=60.0, clock_hertz=1.5e9))  # may change
    assert len(table) == 5  # and the anchor


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"governor": "ondemand"}, "clocks governor performance.*this is governor ondemand"),
        ({"max_clock_hertz": 6e8}, r"up to 0\.60 GHz"),
        ({"power_mode": "MAXN"}, "power mode 15W, this is MAXN"),
        ({"processor": "Other"}, "device Board, this is Other"),
    ],
)
def test_rows_of_other_conditions_do_not_mix(
    table: LatencyTable, change: dict[str, object], said: str
) -> None:
    profile(table, KEYS[:2], with_state())
    with pytest.raises(TableError, match=said):
        profile(table, KEYS, with_state(**change))
    assert len(table) == 3


def test_tables_that_do_not_note_their_clocks_are_added_to(table: LatencyTable) -> None:
    table.append([Row(KEYS[0], 1e-6)])
    profile(table, KEYS[:2], with_state())
    assert table.header.clocks == ""


def test_what_disturbs_is_reported_once(table: LatencyTable) -> None:
    runner = with_state()
    runner.info = replace(runner.info, load=3.9)
    runner.state = replace(STATE, throttled="under-voltage")
    report = profile(table, KEYS, runner)
    assert len(runner.batches) > 4
    assert len(report.warnings) == 2
    assert "3.9 of 4 cores busy" in report.warnings[0]
    assert "began to slow itself down: under-voltage" in report.warnings[1]


def test_whole_networks(runner: RecordedRunner) -> None:
    found = measure_models({"long": b"12345", "short": b"1"}, runner)
    assert list(found) == ["long", "short"]
    assert found["long"].seconds == pytest.approx(5e-9)
    runner.on_answer = lambda count: Measurement(0, math.nan, math.nan, 0, "too large")
    with pytest.raises(MeasureError, match="refuses long: too large"):
        measure_models({"long": b"12345"}, runner)


def test_rows_of_several_boards_say_whose_they_are(table: LatencyTable) -> None:
    with PooledRunner([RecordedBoard("a"), RecordedBoard("b")]) as pool:
        report = profile(table, KEYS, pool)
    assert report.warnings == ()
    assert table.lacks(KEYS) == ()
    assert {row.board for row in table.rows} == {"a", "b"}
    assert table.path is not None
    read = LatencyTable.read(table.path)
    assert read.rows == table.rows
    (found,) = read.header.boards
    assert (found.board, found.beside, found.ratio, found.clear) == ("b", "a", 1.0, False)
    assert report.comparisons == (found,)


def test_boards_that_disagree_are_reported_and_noted(table: LatencyTable) -> None:
    boards = [RecordedBoard("a"), RecordedBoard("b", 1.0), RecordedBoard("c", 1.5)]
    with PooledRunner(boards) as pool:
        report = profile(table, KEYS, pool)
        assert profile(table, KEYS, pool).comparisons == ()  # nothing was measured
    assert report.doubtful == 0  # c is slow, and as slow as it was
    assert report.warnings == ()
    (said,) = disagreements([report])
    assert said.startswith("boards disagree: c takes 1.500 times as long as a (± 0.")
    assert [one.clear for one in table.header.boards] == [False, True]
    with PooledRunner([RecordedBoard("c", 1.5), RecordedBoard("a"), RecordedBoard("d")]) as pool:
        more = [OpKey("linear", 9, width) for width in range(8, 48)]
        profile(table, more, pool)
    pairs = {(one.board, one.beside): one.ratio for one in table.header.boards}
    assert pairs == {("b", "a"): 1.0, ("a", "c"): 0.6667, ("d", "c"): 0.6667}


def test_rows_of_one_board_are_as_they_always_were(table: LatencyTable) -> None:
    profile(table, KEYS, with_state())
    assert table.path is not None
    assert "board" not in {name for line in lines_of(table) for name in line} - {"boards"}
    assert "boards" not in lines_of(table)[0]


def lines_of(table: LatencyTable) -> list[dict[str, object]]:
    assert table.path is not None
    return [json.loads(line) for line in table.path.read_text().splitlines()]


def test_a_board_that_is_lost_leaves_no_gap(table: LatencyTable) -> None:
    with PooledRunner([RecordedBoard("a", fails_after=15), RecordedBoard("b")]) as pool:
        report = profile(table, KEYS, pool)
    assert table.lacks(KEYS) == ()
    assert any("a was lost" in said and "measured by b" in said for said in report.warnings)
    boards = [RecordedBoard("a", fails_after=15), RecordedBoard("b", fails_after=15)]
    more = [OpKey("linear", 9, width) for width in range(8, 48)]
    with PooledRunner(boards) as pool, pytest.raises(MeasureError, match="no board is left"):
        profile(table, more, pool)
    kept = LatencyTable.read(table.path or Path())
    assert kept.rows == table.rows


def test_rows_of_a_board_that_slows_down_say_so(
    table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    slow = RecordedBoard("b")

    def slows_down(done: int, total: int, row: Row) -> None:
        slow.factor = 1.4

    keys = [OpKey("linear", 8, width) for width in range(8, 264)]  # two batches of two boards
    with PooledRunner([RecordedBoard("a"), slow]) as pool:
        report = profile(table, keys, pool, progress=slows_down)
    late = [row for row in table.rows if row.spread > 0.3]
    assert {row.board for row in late} == {"b"}
    assert report.doubtful == len(late)


def test_whole_networks_are_timed_on_every_board() -> None:
    boards = [RecordedBoard("a"), RecordedBoard("b", 2.0), RecordedBoard("c", 5.0)]
    with PooledRunner(boards) as pool:
        found = measure_models({"long": b"12345", "short": b"1"}, pool)
    assert found["long"].seconds == pytest.approx(2.0 * 5e-9)
    assert [board.asked for board in boards] == [2, 2, 2]
