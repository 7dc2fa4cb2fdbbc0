"""`automl init` writes a file that runs, after it tried what it names; and writes over nothing."""

from __future__ import annotations

import io
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command import BUDGET, MODEL, Pipeline

from automl.cli.starting import QUESTIONS

FILE = "automl.toml"


class Terminal(io.StringIO):
    """Somebody who answers line by line."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(*lines: str) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{line}\n" for line in lines)))

    return give


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def test_flags_alone_write_a_file_that_runs(automl: Any, folder: Path, searching: Pipeline) -> None:
    status, out, err = automl("init", *MODEL, *BUDGET)
    assert (status, err) == (0, "")
    assert "model    mine.py:network: 26 parameters\n" in out
    assert "4 calibration, 4 validation, 4 test inputs of 3 x 2 x 2\n" in out
    assert out.endswith("written: automl.toml\n\nNext: automl search\n")
    assert tomllib.loads((folder / FILE).read_text(encoding="utf-8")) == {
        "model": "mine.py:network",
        "data": "mine.py:loaders",
        "target": "cpu",
        "budget": ["50%"],
    }
    assert automl("search")[0] == 0
    assert searching.request.target == "cpu"
    assert searching.request.budget == ("50%",)
    assert searching.request.task.model_name.endswith("mine.py:network")


def test_without_a_terminal_what_is_missing_is_named(automl: Any, folder: Path) -> None:
    status, _, err = automl("init", "--model", "mine.py:network")
    assert status == 2
    assert err == (
        "automl: there is no terminal to ask at: give what is missing"
        " (--data, --target, --budget)\n"
    )
    assert not (folder / FILE).exists()


def test_what_is_there_stays_unless_it_is_forced(automl: Any, folder: Path) -> None:
    (folder / FILE).write_text("this is [not TOML", encoding="utf-8")
    status, _, err = automl("init", *MODEL, *BUDGET)
    assert (status, err) == (
        2,
        "automl: automl.toml is there already, and stays as it is (--force)\n",
    )
    assert (folder / FILE).read_text(encoding="utf-8") == "this is [not TOML"
    assert automl("init", *MODEL, *BUDGET, "--force")[0] == 0
    assert tomllib.loads((folder / FILE).read_text(encoding="utf-8"))["target"] == "cpu"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--model", "mine.py:netwrk"), "netwrk"),
        (("--data", "mine.py:grayscale"), "does not take inputs of shape (1, 1, 2, 2)"),
        (("--target", "rpi44"), "rpi4"),
        (("--budget", "fast"), "--budget"),
        (("--weights", "none.pt"), "none.pt"),
    ],
)
def test_what_does_not_work_is_said_and_nothing_is_written(
    automl: Any, folder: Path, changed: tuple[str, str], said: str
) -> None:
    words = dict(zip((*MODEL, *BUDGET)[::2], (*MODEL, *BUDGET)[1::2], strict=True)) | dict(
        [changed]
    )
    status, out, err = automl("init", *(word for pair in words.items() for word in pair))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (folder / FILE).exists()


def test_it_asks_for_each_once_and_again_where_an_answer_does_not_work(
    automl: Any, folder: Path, answers: Any
) -> None:
    answers(
        "",
        "mine.py:netwrk",
        "mine.py:network",
        "",
        "mine.py:grayscale",
        "mine.py:loaders",
        "rpi44",
        "rpi4-1t",
        "half",
        "",
    )
    status, out, err = automl("init")
    assert status == 0
    asked = {name: err.count(question) for name, question in QUESTIONS.items()}
    assert asked == {"model": 3, "weights": 1, "data": 2, "target": 2, "budget": 2}
    assert "did you mean rpi4" in err
    assert "written: automl.toml" in out
    assert tomllib.loads((folder / FILE).read_text(encoding="utf-8")) == {
        "model": "mine.py:network",
        "data": "mine.py:loaders",
        "target": "rpi4-1t",
        "budget": ["50%"],
    }


def test_it_asks_only_for_what_flags_do_not_say(automl: Any, answers: Any) -> None:
    answers("", "")
    status, _, err = automl("init", *MODEL, *BUDGET[2:])
    assert status == 0
    assert QUESTIONS["weights"] in err
    assert QUESTIONS["target"] in err
    assert QUESTIONS["model"] not in err


def test_answers_that_end_early_write_nothing(automl: Any, folder: Path, answers: Any) -> None:
    answers("mine.py:network")
    status, _, err = automl("init")
    assert status == 2
    assert "ended before the last question" in err.splitlines()[-1]
    assert not (folder / FILE).exists()
