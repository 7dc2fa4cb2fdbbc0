"""Tables that a profile makes: by measuring, from whole networks' times, from others' profiles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tiny import SHAPE, Tiny

from automl.errors import MeasureError, TableError, TargetError, UsageError
from automl.latency.table import LatencyTable
from automl.latency.targets import find_table
from automl.pipeline import runners
from automl.pipeline.profiling import profile
from automl.pipeline.requests import ProfileRequest
from automl.profiling.device import Conditions
from automl.profiling.runner import Limits, Measurement, Probe, RuntimeInfo

STATE = Conditions("Chip", 4, "performance", 1.8e9, 45.0, "15W", 1.8e9)

INFO = RuntimeInfo("onnxruntime", "1.31", 1, "aarch64", STATE)


@dataclass
class Board:
    """A device whose times are its probes' sizes; counts what it was asked."""

    info: RuntimeInfo = INFO
    asked: int = 0
    opened: int = 0
    interrupt_at: int = 10**9
    stolen: float = 0.0
    state: Conditions | None = STATE

    def __enter__(self) -> Board:
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        return

    def close(self) -> None:
        return

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        for index, probe in enumerate(probes):
            self.asked += 1
            if self.asked == self.interrupt_at:
                raise KeyboardInterrupt
            yield Measurement(index, 1e-9 * len(probe.models[0]), 0.01, 9)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    monkeypatch.setattr("automl.pipeline.networks.FIT_NETWORKS", 6)
    return tmp_path / "tables"


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    found = Board()
    monkeypatch.setattr(runners, "SSHRunner", lambda *_, **__: found)
    monkeypatch.setattr(runners, "LocalRunner", lambda *_, **__: found)
    return found


def asked(**more: object) -> ProfileRequest:
    plain = ProfileRequest("my-board", Tiny().eval(), SHAPE, round_to=4, ssh=("me@board",))
    return replace(plain, **more)  # type: ignore[arg-type]


def test_a_board_is_measured_once(board: Board, home: Path) -> None:
    result = profile(asked())
    assert result.table_path == home / "my-board.jsonl"
    assert (result.known, result.measured) == (0, result.asked)
    table = LatencyTable.read(result.table_path)
    header = table.header
    assert (header.device, header.runtime_version, header.power_mode) == ("Chip", "1.31", "15W")
    assert "over SSH" in header.provenance
    assert "45 °C" in header.provenance
    assert result.networks[0].name == "dense"
    assert len(result.networks) >= 3
    assert header.overhead is not None
    assert header.known_error is not None
    assert header.known_error.relative == pytest.approx(result.error, abs=1e-3)
    count = board.asked
    again = profile(asked())
    assert (again.known, again.measured, again.networks) == (result.asked, 0, ())
    assert (board.asked, board.opened) == (count, 1)  # the board was not even called
    assert find_table("my-board").digest == table.digest


def test_integers_are_measured_when_they_are_asked_for(board: Board, home: Path) -> None:
    plain = profile(asked(resolutions=()))
    table = LatencyTable.read(plain.table_path)
    assert table.header.precisions == ("fp32",)
    result = profile(asked(resolutions=(), precisions=("int8",)))
    assert result.known == plain.asked
    table = LatencyTable.read(result.table_path)
    assert table.header.precisions == ("fp32", "int8")
    assert table.header.scheme == "qdq-u8s8"
    measured = [row.key for row in table.rows if row.key.precision == "int8"]
    assert {key.op for key in measured} == {"conv2d", "linear", "add", "global_avg_pool", "convert"}
    assert {key.detail for key in measured if key.op == "convert"} == {"quantize", "dequantize"}
    assert not result.refused
    with pytest.raises(UsageError, match="no precision int4: my-board has fp32 and int8"):
        profile(asked(precisions=("int4",)))


def test_an_interrupted_profile_goes_on(board: Board, home: Path) -> None:
    board.interrupt_at = 30
    with pytest.raises(KeyboardInterrupt):
        profile(asked())
    kept = len(LatencyTable.read(home / "my-board.jsonl"))
    assert 0 < kept < 30
    board.interrupt_at = 10**9
    result = profile(asked())
    assert result.known >= kept - 1  # but for the anchor
    assert result.known + result.measured == result.asked
    assert result.networks


def test_operators_of_a_file(board: Board, tmp_path: Path) -> None:
    keys = [{"op": "linear", "in_channels": 8, "out_channels": width} for width in (8, 16)]
    (tmp_path / "ops.json").write_text(json.dumps(keys))
    result = profile(asked(model=None, input_shape=(), ops=tmp_path / "ops.json"))
    assert (result.asked, result.measured, result.networks) == (2, 2, ())


def test_networks_that_cannot_be_measured_leave_the_rows(board: Board) -> None:
    refused = Board.run

    def run(probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        if limits.min_passes == 9:  # whole networks
            raise MeasureError("out of memory")
        return refused(board, probes, limits)

    board.run = run  # type: ignore[method-assign]
    result = profile(asked())
    assert result.measured == result.asked
    assert "not held against whole networks: out of memory" in result.notes[-1]


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"target": "rpi4"}, TargetError, "such as my-rpi4"),
        ({"target": "cpu"}, UsageError, "cpu is this machine"),
        ({"target": "../board"}, UsageError, "no name for a table"),
        ({"runtime": "onnx"}, UsageError, "did you mean onnxruntime"),
        ({"model": None}, UsageError, "needs a model or operators"),
        ({"ssh": ("board:x",)}, UsageError, "write user@host"),
    ],
)
def test_what_does_not_go_together(
    board: Board, more: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        profile(asked(**more))


def test_other_conditions_than_the_rows(board: Board) -> None:
    profile(asked())
    slow = replace(STATE, power_mode="7W")
    board.info = replace(board.info, conditions=slow)
    with pytest.raises(TableError, match=r"my-board\.jsonl.*power mode 15W, this is 7W"):
        profile(asked(round_to=2))
