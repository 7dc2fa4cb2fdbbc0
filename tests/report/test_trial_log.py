"""A log is read as far as it can be: damaged lines are counted, sessions follow each other."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from made_runs import trial_line, write_lines

from automl.report.trial_log import read_log

GENERATOR = random.Random(0)


def test_stages_take_until_the_next_begins(tmp_path: Path) -> None:
    lines = [
        {"at_seconds": 0.0, "stage": "reading"},
        {"at_seconds": 2.0, "stage": "searching"},
        trial_line(0, GENERATOR, 3.0),
        {"at_seconds": 5.0, "stage": "reading"},
        {"at_seconds": 6.0, "stage": "done"},
    ]
    write_lines(tmp_path / "log.jsonl", lines)
    log = read_log(tmp_path / "log.jsonl")
    assert log.stages == {"reading": 3.0, "searching": 3.0, "done": 0.0}
    assert log.last == "done"
    assert [trial.at for trial in log.trials] == [3.0]


def test_a_session_that_goes_on_counts_after_the_last(tmp_path: Path) -> None:
    lines = [
        {"at_seconds": 0.0, "stage": "searching"},
        trial_line(0, GENERATOR, 10.0),
        {"at_seconds": 0.0, "stage": "searching"},
        trial_line(1, GENERATOR, 4.0),
    ]
    write_lines(tmp_path / "log.jsonl", lines)
    log = read_log(tmp_path / "log.jsonl")
    assert log.sessions == 2
    assert [trial.at for trial in log.trials] == [10.0, 14.0]
    assert {trial.study for trial in log.trials} == {0}


def test_a_number_that_comes_again_is_of_another_study(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "log.jsonl", [trial_line(each, GENERATOR, 1.0) for each in (0, 1, 0, 1, 2)]
    )
    log = read_log(tmp_path / "log.jsonl")
    assert [trial.study for trial in log.trials] == [0, 0, 1, 1, 1]


def test_what_cannot_be_read_is_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_lines(path, [trial_line(0, GENERATOR)])
    with path.open("ab") as file:
        file.write(b'{"at_seconds": 3, "tri\n[1]\n\xff\xfe\n{"at_seconds": "x"}\n' + b"[" * 70_000)
    log = read_log(path)
    assert len(log.trials) == 1
    assert log.damaged == 5


@pytest.mark.parametrize("value", ["1e400", '"0.5"', "true", "[1]", "1" + "0" * 400])
def test_what_is_no_number_is_not_known(tmp_path: Path, value: str) -> None:
    line = f'{{"at_seconds": 1, "trial": 0, "state": "COMPLETE", "score": {value}, "macs": 5}}\n'
    (tmp_path / "log.jsonl").write_text(line, encoding="utf-8")
    (trial,) = read_log(tmp_path / "log.jsonl").trials
    assert trial.numbers == {"macs": 5.0}
    assert trial.chosen == ()
