"""What a search keeps for its report: whole, without passwords, adding up to what is promised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import request, write_table

from automl.pipeline import search
from automl.pipeline.record import command_line
from automl.report import read_run


def test_a_search_keeps_what_its_report_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    result = search(request(board, tmp_path / "run", "60%", agent="random", trials=4))
    run = read_run(tmp_path / "run")
    assert run["problems"] == []
    assert run["state"] == "finished"
    sizes = [len(each["options"]) for each in run["start"]["variables"]]
    assert [len(each) for each in run["start"]["sensitivity"]["single"]] == sizes
    assert all(len(each) == len(sizes) for each in run["trials"]["chosen"])
    kept = {each["name"]: each["channels"] for each in run["outcome"]["layers"]}
    assert kept["stem"][0] == 16
    for side, metrics in (("dense", result.dense), ("compressed", result.compressed)):
        times = [seconds for seconds, _ in run["outcome"]["times"][side].values()]
        assert metrics.predicted_seconds == pytest.approx(sum(times), rel=0.02)


def test_a_budget_that_the_dense_network_meets_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    board = write_table(tmp_path / "board.jsonl")
    search(request(board, tmp_path / "run", "100%"))
    run = read_run(tmp_path / "run")
    assert run["problems"] == []
    assert run["start"]["variables"] == []
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["trials"] == 0


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["/usr/bin/automl", "search", "--out", "a b"], "automl search --out 'a b'"),
        (["/x/automl/__main__.py", "targets"], "automl targets"),
        (["mine.py"], "mine.py"),
        (
            ["automl", "--storage", "postgresql://me:secret@db/x"],
            "automl --storage 'postgresql://me:***@db/x'",
        ),
    ],
)
def test_passwords_are_not_kept(words: list[str], shown: str) -> None:
    assert command_line(words) == shown
