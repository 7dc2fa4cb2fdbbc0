"""A board that lies, babbles, hangs or dies: `automl profile` ends in one line, the table whole.

The 25 misbehaviours of a worker that a reviewer wrote against an earlier version of the protocol.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from automl.latency.table import LatencyTable
from automl.profiling.ssh import COMMAND
from automl.profiling.worker_state import state

#: In place of ssh. The first four requests are of the anchor alone and answered as they should be.
FAKE = r"""#!{python}
import json, os, sys, time
mode, state = {mode!r}, json.loads({state!r})
def w(o):
    sys.stdout.write((o if isinstance(o, str) else json.dumps(o)) + "\n")
    sys.stdout.flush()
h = {{"python": "3.9", "machine": "x86_64", "onnxruntime": "1.0", "state": state, "load": 0.0}}
if mode == "hello_garbage": w("{{not json")
if mode == "hello_nostate": del h["state"]
if mode == "hello_badload": h["load"] = "x"
if mode == "hello_hang": time.sleep(1000)
if mode == "hello_esc": h["onnxruntime"] = "1\x1b[2J\u202e"
w(h)
for n, line in enumerate(sys.stdin, start=1):
    r = json.loads(line)
    i = r["id"]
    for k in range(len(r["probes"])):
        a = {{"id": i, "probe": k, "seconds": 1e-4 * (1 + k), "spread": 0.01, "runs": 10}}
        if n > 4:
            if mode == "nan": a["seconds"] = float("nan")
            if mode == "inf": a["seconds"] = float("inf")
            if mode == "neg": a["seconds"] = -1e-3
            if mode == "zero": a["seconds"] = 0
            if mode == "str": a["seconds"] = "fast"
            if mode == "nanspread": a["spread"] = float("nan")
            if mode == "infspread": a["spread"] = float("inf")
            if mode == "runsstr": a["runs"] = "many"
            if mode == "index": a["probe"] = 99
            if mode == "negindex": a["probe"] = -1
            if mode == "dup": w(a)
            if mode == "garbage": w("{{garbage")
            if mode == "list": w("[1]")
            if mode == "deep": w("{{\"a\":" * 5000)
            if mode == "nokey": del a["seconds"]
            if mode == "die": os._exit(3)
            if mode == "hang": time.sleep(1000)
            if mode == "bignum": a["runs"] = 10**400
            if mode == "err_esc":
                a = {{"id": i, "probe": k, "error": "\x1b]0;owned\x07\x1b[31mred"}}
        w(a)
    d = {{"id": i, "done": True, "stolen": 0.0, "state": state}}
    if n > 4 and mode == "done_bad": del d["state"]
    if n > 4 and mode == "done_badstolen": d["stolen"] = "all"
    w(d)
"""
OPERATORS = [
    {
        **{"op": "conv2d", "in_channels": count, "out_channels": 8, "kernel": [3, 3]},
        **{"padding": [1, 1], "in_size": [8, 8], "out_size": [8, 8]},
    }
    for count in (8, 16, 24)
]
#: What the one line says.
REFUSED = {
    "nan": "seconds",
    "inf": "seconds",
    "neg": "seconds",
    "zero": "seconds",
    "str": "seconds",
    "nanspread": "spread",
    "infspread": "spread",
    "runsstr": "runs",
    "index": "answers probe 99, not asked of it",
    "negindex": "probe",
    "dup": "answers probe 0, not asked of it",
    "nokey": "seconds",
    "die": "ended with status 3",
    "hang": "has said nothing of what it was asked for",
    "bignum": "runs",
    "err_esc": r"refuses a plain convolution: \x1b]0;owned\x07\x1b[31mred",
    "done_bad": "state",
    "done_badstolen": "stolen",
    "hello_nostate": "state",
    "hello_badload": "load",
    "hello_hang": "nothing was said within 2 s",
}
#: What a profile comes to its end with: noise is skipped, escapes are not sent.
HARMLESS = ("garbage", "list", "deep", "hello_garbage", "hello_esc")
WORDS = ("profile", "--target", "brd", "--ssh", "u@h", "--ops", "ops3.json")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the board is played, and its table below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(COMMAND, str(tmp_path / "ssh"))
    (tmp_path / "ops3.json").write_text(json.dumps(OPERATORS))
    return tmp_path


def play(board: Path, mode: str) -> None:
    fake = FAKE.format(python=sys.executable, mode=mode, state=json.dumps(state()))
    (board / "ssh").write_text(fake, encoding="utf-8")
    (board / "ssh").chmod(0o755)


def rows(board: Path) -> int:
    """Of the table, which is read whole; 0 where there is none yet."""
    path = board / "home" / "tables" / "brd.jsonl"
    if not path.exists():
        return 0
    assert all(line.isprintable() for line in path.read_text().splitlines())
    assert not any(word in path.read_text() for word in ("NaN", "Infinity"))
    return len(LatencyTable.read(path))


@pytest.mark.parametrize("mode", REFUSED)
def test_it_ends_in_one_line_and_goes_on_later(automl: Any, board: Path, mode: str) -> None:
    play(board, mode)
    patience = ("--answer-timeout", "2s" if "hang" in mode else "1min")
    status, out, err = automl(*WORDS, *patience)
    (line,) = [line for line in err.splitlines() if line.startswith("automl: ")]
    assert (status, out) == (2, "")
    assert REFUSED[mode] in line
    assert line.isprintable()
    assert rows(board) <= 1  # the anchor
    play(board, "ok")
    status, out, _ = automl(*WORDS)
    assert (status, rows(board)) == (0, 1 + len(OPERATORS))
    assert "3 measured now" in out


@pytest.mark.parametrize("mode", HARMLESS)
def test_what_is_noise_is_no_harm(automl: Any, board: Path, mode: str) -> None:
    play(board, mode)
    status, out, err = automl(*WORDS, "--answer-timeout", "1min")
    assert status == 0, err
    assert "3 measured now" in out
    assert all(line.isprintable() for line in (out + err).splitlines())
    play(board, "ok")
    assert automl(*WORDS)[0] == 0
    assert rows(board) == 1 + len(OPERATORS)
