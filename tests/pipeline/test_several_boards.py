"""A profile on two boards, which are real sshds here; the second one's runtime does all twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sshd as servers
from sshd import Sshd

import automl
from automl.errors import MeasureError
from automl.latency.table import LatencyTable
from automl.pipeline.tables import check_table
from automl.profiling.ssh import COMMAND, parse_host

pytestmark = pytest.mark.skipif(bool(servers.missing()), reason=servers.missing())

#: Every run of a model is two: this board is half as quick as the other one.
TWICE = """
import onnxruntime
once = onnxruntime.InferenceSession.run_with_iobinding
def twice(*given, **named):
    once(*given, **named)
    once(*given, **named)
onnxruntime.InferenceSession.run_with_iobinding = twice
"""
OPERATORS = [
    {
        "op": "conv2d",
        "in_channels": read,
        "out_channels": written,
        "kernel": [3, 3],
        "padding": [1, 1],
        "in_size": [14, 14],
        "out_size": [14, 14],
    }
    for read in (32, 48, 64)
    for written in (32, 48, 64)
]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    found = servers.start(tmp_path_factory.mktemp("first"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, first: Sshd) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("slow")
    (folder / "sitecustomize.py").write_text(TWICE)
    found = servers.start(folder, key_of=first, environment=f"PYTHONPATH={folder}")
    yield found
    found.stop()


@pytest.fixture
def asked(
    first: Sshd, slow: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setenv(COMMAND, first.command)
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    (tmp_path / "ops.json").write_text(json.dumps(OPERATORS))
    return {
        "target": "both",
        "ops": tmp_path / "ops.json",
        "ssh": [first.host, slow.host],
        "python": sys.executable,
    }


def test_one_sweep_over_two_boards(asked: dict[str, Any], first: Sshd, slow: Sshd) -> None:
    one, other = (parse_host(server.host).board for server in (first, slow))
    result = automl.profile(**asked)
    assert (result.asked, result.measured) == (len(OPERATORS), len(OPERATORS))
    table = LatencyTable.read(result.table_path)
    assert {row.board for row in table.rows} == {one, other}
    assert [share.board for share in result.boards] == [one, other]
    assert sum(share.rows for share in result.boards) == len(table)
    (compared,) = table.header.boards
    assert (compared.board, compared.beside) == (other, one)
    assert compared.ratio > 1.0
    assert compared.clear
    (said,) = (note for note in result.notes if note.startswith("boards disagree: "))
    assert said.endswith(str(compared))
    assert f"{one} and {other} are one machine: they time each other's work as well" in result.notes
    check = check_table("both")
    (found,) = (each for each in check.findings if each.kind == "boards")
    assert str(compared) in found.text
    assert not check.impossible
    again = automl.profile(**asked)
    assert (again.known, again.boards) == (len(OPERATORS), ())


def test_a_board_that_cannot_be_reached_is_named(asked: dict[str, Any], tmp_path: Path) -> None:
    asked["ssh"] = [asked["ssh"][0], "me@127.0.0.1:1"]
    with pytest.raises(MeasureError, match=r"^me@127\.0\.0\.1:1: .*refused \(of 2 boards;"):
        automl.profile(**asked)
    assert not list(tmp_path.glob("tables/*.jsonl"))
