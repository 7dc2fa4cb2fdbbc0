"""What workers say: what is none of it is refused by name, whatever it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from automl.errors import MeasureError
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.table import LatencyTable
from automl.profiling import ssh
from automl.profiling.measuring import profile
from automl.profiling.protocol import (
    Done,
    Refused,
    TimedProbe,
    parse_answer,
    parse_conditions,
    parse_hello,
)
from automl.profiling.ssh import Host, SSHRunner
from automl.profiling.worker_state import state

TIMED = {"id": 1, "probe": 0, "seconds": 1e-4, "spread": 0.01, "runs": 9}
HELLO = {"machine": "aarch64", "python": "3.11", "state": {}, "load": 0.0, "onnxruntime": "1.0"}

#: A worker that runs, says what a real one says, and the fourth time what is put in place of it.
WORKER = """
import json, sys
said = json.loads(sys.argv[1])
hello = {"machine": "m", "python": "3", "onnxruntime": "1.0", "load": 0.0, "state": %s}
print(json.dumps({**hello, **said.get("hello", {})}), flush=True)
for count, line in enumerate(sys.stdin):
    asked = json.loads(line)
    for probe in range(len(asked["probes"])):
        answer = {"id": asked["id"], "probe": probe, "seconds": 1e-4, "spread": 0.01, "runs": 9}
        lies = said.get("lines", [None]) if count > 4 else [None]
        for lie in lies:
            print(lie if isinstance(lie, str) else json.dumps({**answer, **(lie or {})}))
    done = {"id": asked["id"], "done": True, "stolen": 0.0, "state": hello["state"]}
    print(json.dumps({**done, **said.get("done", {})}), flush=True)
"""


def test_what_is_said() -> None:
    assert parse_answer(TIMED, "board") == TimedProbe(probe=0, seconds=1e-4, spread=0.01, runs=9)
    refused = parse_answer({"probe": 3, "error": "\x1b]0;mine\x07no"}, "board")
    assert refused == Refused(probe=3, error=r"\x1b]0;mine\x07no")
    done = parse_answer({"done": True, "stolen": 0.5, "state": {}}, "board")
    assert done == Done(stolen=0.5, state={})
    assert parse_hello(HELLO, "board").runtimes == {"onnxruntime": "1.0"}
    assert parse_conditions(state(), "here").processor


@pytest.mark.parametrize(
    "lie",
    [
        *({"seconds": value} for value in (float("nan"), float("inf"), -1e-3, 0, "fast", None)),
        *({"spread": value} for value in (float("nan"), float("inf"), -0.1)),
        *({"runs": value} for value in ("many", -1, 1.5, 10**400)),
        *({"probe": value} for value in (-1, "0", 10**400)),
        {"error": ""},
        {"error": 3},
    ],
)
def test_what_cannot_be_is_refused_with_its_field(lie: dict[str, object]) -> None:
    (field,) = lie
    with pytest.raises(MeasureError, match=rf"^board: the worker says what cannot be: {field}: "):
        parse_answer({**TIMED, **lie}, "board")


@pytest.mark.parametrize(
    ("change", "field"),
    [({"load": "x"}, "load"), ({"state": None}, "state"), ({"machine": 1}, "machine")],
)
def test_a_greeting_that_is_none(change: dict[str, object], field: str) -> None:
    with pytest.raises(MeasureError, match=f"cannot be: {field}: "):
        parse_hello({**HELLO, **change}, "board")
    with pytest.raises(MeasureError, match="cannot be: cores: "):
        parse_conditions({**state(), "cores": "two"}, "board")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"lines": [{"seconds": float("nan")}]}, "seconds: Input should be"),
        ({"lines": [{"probe": 99}]}, "answers probe 99, not asked of it"),
        ({"lines": [None, None]}, "answers probe 0, not asked of it"),
        ({"lines": ["{garbage", "[1]", "{" * 5000]}, "left 1 probes unanswered"),
        ({"done": {"stolen": None}}, "stolen: Input should be"),
    ],
)
def test_a_worker_that_lies_leaves_a_table_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, object], error: str
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER % repr(state()))
    command = [sys.executable, str(worker), json.dumps(said)]
    monkeypatch.setattr(ssh.SSHRunner, "_command", lambda _: command)
    header = TableHeader(name="board", device="Board", runtime="onnxruntime")
    table = LatencyTable.create(tmp_path / "board.jsonl", header)
    with (
        SSHRunner(Host("me@board")) as runner,
        pytest.raises(MeasureError, match=f"^me@board: .*{error}"),
    ):
        profile(table, [OpKey("linear", 8, 8)], runner)
    assert LatencyTable.read(tmp_path / "board.jsonl").rows == table.rows


def test_a_version_that_a_terminal_would_obey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER % repr(state()))
    said = json.dumps({"hello": {"onnxruntime": "1\x1b[2J"}})
    monkeypatch.setattr(ssh.SSHRunner, "_command", lambda _: [sys.executable, str(worker), said])
    with SSHRunner(Host("board")) as runner:
        assert runner.info.version == r"1\x1b[2J"
