"""The progress bar: one line per stage, nothing where no terminal looks."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from automl.cli import progress
from automl.cli.progress import Bar
from automl.pipeline import Event


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    """What two stages leave on stderr."""
    text = io.StringIO()

    def console(stderr: bool) -> Console:
        assert stderr
        return Console(file=text, force_terminal=terminal, width=100, color_system=None)

    monkeypatch.setattr(progress, "Console", console)
    with Bar() as bar:
        bar(Event("pricing", 1, 1))
        bar(Event("study", 1, 4))
        bar(Event("study", 3, 4, 0.87654))
    return text.getvalue()


def test_a_terminal_sees_a_line_per_stage_with_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    last = shown(monkeypatch, terminal=True).splitlines()[-1]
    text = shown(monkeypatch, terminal=True)
    assert "pricing" in text
    assert "best 0.8765" in text
    assert "3/4" in text
    assert last.count("study") <= 1


def test_a_file_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=False) == ""


def test_what_is_printed_meanwhile_leaves_stdout_to_the_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Bar():
        print("a worker died")
    print("{}")
    out, err = capsys.readouterr()
    assert out == "{}\n"
    assert "a worker died" in err
