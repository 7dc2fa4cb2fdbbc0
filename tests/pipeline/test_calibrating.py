"""Tables made without measuring operators: from whole networks' times, from others' profiles."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny import SHAPE, Tiny

from automl.errors import TableError, UsageError
from automl.export.onnx import onnx_bytes
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey, op_key
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.latency.targets import find_table
from automl.network.traced_model import trace_network
from automl.pipeline.profiling import profile
from automl.pipeline.requests import ProfileRequest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    return tmp_path / "tables"


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


def fit(path: Path) -> ProfileRequest:
    return ProfileRequest("my-board", None, (), calibrate=path, like="rpi4")


def imported(path: Path, **more: object) -> ProfileRequest:
    plain = ProfileRequest("my-board", Tiny().eval(), SHAPE, profile=path, precision="fp32")
    return replace(plain, **more)  # type: ignore[arg-type]


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
    result = profile(imported(path))
    table = LatencyTable.read(result.table_path)
    assert table.header.runtime == "onnxruntime"
    assert "measured by others" in table.header.provenance
    keys = {op_key(layer) for layer in trace_network(model, SHAPE, resolutions=()).network.layers}
    assert {row.key for row in table.rows} <= keys
    assert any(row.key.op == "conv2d" for row in table.rows)
    assert "of the time in" in result.notes[0]
    again = profile(imported(path))
    assert (again.measured, again.known) == (0, len(table))
    with pytest.raises(UsageError, match="the model that was profiled: name that model"):
        profile(imported(path, model=None))
