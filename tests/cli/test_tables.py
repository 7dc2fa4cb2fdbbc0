"""`automl table` and the flags of `automl profile`: what they ask for, print and refuse."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from automl import pipeline
from automl.cli.main import run
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row, row_line
from automl.latency.table import LatencyTable
from automl.pipeline.requests import SearchRequest

HEADER = TableHeader(name="one", device="Board", runtime="onnxruntime", threads=1)
Automl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    write("one", {8: 1e-5, 16: 2e-5, 24: 3e-5})
    write("two", {16: 2.5e-5, 24: 3e-5, 32: 4e-5})
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef linear():\n    return nn.Sequential(nn.Linear(64, 8))\n"
    )
    return tmp_path


def write(name: str, times: dict[int, float], **header: object) -> None:
    rows = [Row(OpKey("linear", 64, width), seconds, 0.02) for width, seconds in times.items()]
    LatencyTable.create(
        Path(f"{name}.jsonl"), HEADER.model_copy(update={"name": name, **header}), rows
    )


@pytest.fixture
def automl(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Automl:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["automl", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capsys.readouterr()
        assert all(len(line) <= 80 for line in out.splitlines())
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


def test_merge(automl: Automl) -> None:
    status, _, error = automl("table", "merge", "one.jsonl", "two.jsonl", "--out", "all.jsonl")
    assert status == 2
    assert "linear 64>16 fp32: 2e-05 and 2.5e-05 seconds" in error
    assert not Path("all.jsonl").exists()
    words = ("one.jsonl", "two.jsonl", "--out", "all.jsonl", "--prefer", "second")
    status, out, _ = automl("table", "merge", *words)
    assert status == 0
    assert "all.jsonl: 4 rows from 3 and 3" in out
    merged = LatencyTable.read(Path("all.jsonl"))
    assert merged.name == "all"
    assert merged.row(OpKey("linear", 64, 16)) == Row(OpKey("linear", 64, 16), 2.5e-5, 0.02)
    assert automl("table", "merge", *words)[0] == 2  # it is there already
    write("other", {8: 1.0}, device="Other")
    status, _, error = automl("table", "merge", "one.jsonl", "other.jsonl", "--out", "x.jsonl")
    assert status == 2
    assert "device 'Board' and 'Other'" in error


def test_diff(automl: Automl) -> None:
    status, out, _ = automl("table", "diff", "one.jsonl", "two.jsonl")
    assert status == 0
    assert "2 operators in both, 1 only in A, 1 only in B" in out
    assert "from 1.000 to 1.250" in out
    status, out, _ = automl("table", "diff", "one.jsonl", "two.jsonl", "--json")
    assert json.loads(out)["comparison"]["worst"][0]["ratio"] == pytest.approx(1.25)
    status, out, _ = automl("table", "diff", "rpi4", "rpi5")
    assert status == 0
    assert "on ordinary operators" in out


def test_check(automl: Automl) -> None:
    status, out, _ = automl("table", "check", "one.jsonl")
    assert status == 0
    assert "nothing is wrong" in out
    with Path("one.jsonl").open("a") as file:
        file.write(row_line(Row(OpKey("linear", 64, 64), 1.0)).replace("1.0", "NaN") + "\n")
    status, out, _ = automl("table", "check", "one.jsonl")
    assert status == 2
    assert "lines that cannot be read: 1" in out
    assert "one.jsonl:5: NaN is no number that JSON has" in out.replace("\n    ", " ")
    status, out, _ = automl("table", "check", "nothing.jsonl")
    assert status == 2


def test_check_finds_milliseconds(automl: Automl) -> None:
    write("ms", {100: 0.02, 200: 0.04, 300: 0.06})  # a hundredth of the operators' speed anywhere
    status, out, _ = automl("table", "check", "ms.jsonl")
    assert status == 2
    assert "are the times milliseconds?" in out.replace("\n    ", " ")


def test_check_covers_a_model(automl: Automl) -> None:
    words = ("--model", "net.py:linear", "--input-shape", "64")
    status, out, _ = automl("table", "check", "one.jsonl", *words, "--json")
    assert status == 0
    coverage = json.loads(out)["coverage"]
    assert (coverage["asked"], coverage["measured"], coverage["missing"]) == (1, 1, 0)
    status, out, _ = automl("table", "check", "two.jsonl", *words)
    assert "missing: 1 x linear" in out


def test_check_covers_an_example(automl: Automl) -> None:
    status, out, _ = automl("table", "check", "one.jsonl", "--example", "classifier", "--json")
    assert status == 0
    assert json.loads(out)["coverage"]["asked"] > 30


def test_search_takes_measure(automl: Automl, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SearchRequest] = []

    def search(request: SearchRequest, _: object) -> None:
        asked.append(request)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pipeline, "search", search)
    words = ("search", "--target", "rpi4", "--budget", "50%", "--measure", "--ssh", "pi@board")
    assert automl(*words)[0] == 130
    assert asked[0].measure
    assert asked[0].ssh == ("pi@board",)
