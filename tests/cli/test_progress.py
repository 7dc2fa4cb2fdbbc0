"""The progress bar: one line per stage; lines now and then where no terminal looks."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console

from automl.cli import progress
from automl.cli.progress import Bar, line
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


def test_a_file_sees_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=False) == ""  # it took no ten seconds
    text = io.StringIO()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=text, width=80))
    with Bar() as bar:
        bar(Event("calibrating", 0, 1))
        bar(Event("measuring operators", 41, 1183, 0.87654))
        while text.getvalue().count("\n") < 2:  # a stage that tells nothing is told of again
            time.sleep(0.01)
    lines = text.getvalue().splitlines()
    assert lines[-1] == lines[-2] == "0 s: measuring operators, 41 of 1,183, best 0.8765"


PROGRESS = """
from automl.cli.progress import Bar
from automl.pipeline import Event
with Bar() as bar:
    bar(Event("study", 3, 4, 0.87654))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("plain", [True, False])
def test_no_color_has_a_terminal_shown_no_colours(plain: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    if plain:
        environment["NO_COLOR"] = "1"
    subprocess.run([sys.executable, "-c", PROGRESS], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # Linux ends a pseudo-terminal with an error
        while part := os.read(ours, 65536):
            text += part
    os.close(ours)
    assert b"best 0.8765" in text
    assert (re.search(rb"\x1b\[[0-9;]*[34]\d[0-9;]*m", text) is None) is plain


def test_a_line_leaves_out_what_is_not_known() -> None:
    assert line(Event("exporting", 0, 1), 61.4) == "61 s: exporting"
    assert line(Event("searching", 3, None, 0.5), 5.0) == "5 s: searching, best 0.5"


def test_a_line_says_how_long_a_stage_takes_of_which_no_end_is_known() -> None:
    assert line(Event("solving"), 540.2, 12.3) == "540 s: solving for 12 s"
    assert line(Event("sensitivity", 3, 554), 540.2, 12.3) == "540 s: sensitivity, 3 of 554"


def test_a_line_counts_from_where_its_stage_began(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=text, width=80))
    with Bar() as bar:
        bar(Event("sensitivity", 554, 554))
        bar(Event("solving"))
        while "for 1 s" not in text.getvalue():
            time.sleep(0.01)
    assert "1 s: solving for 1 s" in text.getvalue()


def test_what_is_printed_meanwhile_leaves_stdout_to_the_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Bar():
        print("a worker died")
    print("{}")
    out, err = capsys.readouterr()
    assert out == "{}\n"
    assert "a worker died" in err
