"""Tables that a profile makes: by measuring, from whole networks' times, from others' profiles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny import SHAPE, Tiny

from automl.errors import MeasureError, TableError, TargetError, UsageError
from automl.export.onnx import onnx_bytes
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey, op_key
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.latency.targets import find_table
from automl.network.traced_model import trace_network
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


@pytest.fixture
def timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A folder with networks, and a writer of CSV files of their times."""
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def small():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())\n"
        "def large():\n    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU())\n"
    )
    keys = [{"op": "linear", "in_channels": 512, "out_channels": 1000}]
    (tmp_path / "head.json").write_text(json.dumps(keys))
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        (tmp_path / "timings.csv").write_text(text)
        return tmp_path / "timings.csv"

    return write


def fit(path: Path, **more: object) -> ProfileRequest:
    return asked(model=None, input_shape=(), ssh=(), calibrate=path, like="rpi4", **more)


def test_a_table_from_few_timings(timings: Callable[[str], Path]) -> None:
    path = timings(
        "model,latency_ms,input_shape\n"
        "nets.py:small,2.0,3x64x64\nnets.py:large,9.0,3x64x64\nhead.json,0.5,\n"
    )
    result = profile(fit(path))
    table = LatencyTable.read(result.table_path)
    assert len(table) == 0
    assert "fitted, not measured" in table.header.provenance
    assert "rpi4" in table.header.provenance
    assert table.header.known_error is not None
    assert "3 timed fp32 networks, each left out" in table.header.known_error.on
    assert [network.measured_seconds for network in result.networks] == [2e-3, 9e-3, 0.5e-3]
    misses = [abs(n.predicted_seconds / n.measured_seconds - 1) for n in result.networks]
    assert sum(misses) / 3 == pytest.approx(result.error, abs=1e-3)
    known = find_table("rpi4")
    keys = [OpKey("conv2d", 3, 64, (3, 3), in_size=(64, 64), out_size=(62, 62))]
    assert table.lookup(keys).seconds[0] != known.lookup(keys).seconds[0]
    table.append([Row(keys[0], 1e-3)])
    with pytest.raises(TableError, match="holds measured rows"):
        profile(fit(path))


def test_timings_may_be_of_a_runtime_that_measures_nothing_here(
    timings: Callable[[str], Path],
) -> None:
    path = timings("model,latency_ms\nnets.py:small,20\n")
    table = LatencyTable.read(profile(replace(fit(path), runtime="ncnn")).table_path)
    assert table.header.runtime == "ncnn"
    with pytest.raises(UsageError, match="nothing here measures with ncnn"):
        profile(ProfileRequest("mine", None, (), runtime="ncnn"))


def test_one_timing_is_enough_and_says_so(timings: Callable[[str], Path]) -> None:
    result = profile(fit(timings("model,latency_ms\nnets.py:small,20\n")))
    known = LatencyTable.read(result.table_path).header.known_error
    assert known is not None
    assert "one timing" in known.on
    assert result.networks == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,latency\nx,1\n", "no column 'latency_ms'"),
        ("model,latency_ms,shape\nx,1,1\n", "unknown column 'shape'"),
        ("model,latency_ms\n", "no networks"),
        ("model,latency_ms\nnets.py:small,-3\n", r"csv:2: latency_ms '-3' is not a positive"),
        ("model,latency_ms\nnets.py:small,nan\n", "'nan' is not a positive"),
        ("model,latency_ms,input_shape\nnets.py:small,3,3by4\n", "write 3x224x224"),
    ],
)
def test_timings_that_cannot_be_read(timings: Callable[[str], Path], text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        profile(fit(timings(text)))


def test_calibrating_needs_a_device_with_a_predictor(
    timings: Callable[[str], Path], home: Path
) -> None:
    path = timings("model,latency_ms\nnets.py:small,3\n")
    with pytest.raises(UsageError, match="from a known device: name one"):
        profile(replace(fit(path), like=None))
    home.mkdir()
    LatencyTable.create(home / "bare.jsonl", TableHeader(name="bare", device="x", runtime="y"))
    with pytest.raises(TableError, match="'bare' has no fitted predictor"):
        profile(replace(fit(path), like="bare"))


def test_a_profile_of_onnx_runtime_becomes_rows(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "ort")
    model = Tiny().eval()
    session = onnxruntime.InferenceSession(
        onnx_bytes(model, SHAPE), options, providers=["CPUExecutionProvider"]
    )
    feed = {value.name: np.ones(SHAPE, dtype=np.float32) for value in session.get_inputs()}
    for _ in range(3):
        session.run(None, feed)
    path = Path(session.end_profiling())
    result = profile(asked(ssh=(), profile=path, precision="fp32"))
    table = LatencyTable.read(result.table_path)
    assert table.header.runtime == "onnxruntime"
    assert "measured by others" in table.header.provenance
    keys = {op_key(layer) for layer in trace_network(model, SHAPE, resolutions=()).network.layers}
    assert {row.key for row in table.rows} <= keys
    assert any(row.key.op == "conv2d" for row in table.rows)
    assert "of the time in" in result.notes[0]
    again = profile(asked(ssh=(), profile=path, precision="fp32"))
    assert (again.measured, again.known) == (0, len(table))
    with pytest.raises(UsageError, match="the model whose it is"):
        profile(asked(ssh=(), profile=path, model=None))
