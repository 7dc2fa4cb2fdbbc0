"""What a terminal of 80 x 24 shows, read back from a terminal emulator."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from automl.cli.live import View
from automl.pipeline import Event

pyte = pytest.importorskip("pyte")
pty = pytest.importorskip("pty")
SEARCH = str(Path(__file__).resolve().parents[2] / "search")

SHOWN = """
import sys, time
from automl.cli.progress import Bar
from automl.interrupts import endable
from automl.pipeline import Course, Event, TrialPoint
course = Course(trials=40, limit=0.005)
with endable(lambda error: None), Bar() as bar:
    names = ("reading the network", "measuring operators, a stage of a long name", "calibrating")
    for name in names:
        for done in range(1184):
            bar(Event(name, done, 1183))
    for number in range(30):
        score, latency = 0.5 + number / 100, 0.001 * (1 + number % 5)
        point = TrialPoint(number, "COMPLETE", score, latency, 1e6, 1e5, 0.5, course=course)
        bar(Event("searching", number + 1, 40, score, left_seconds=125.0, trial=point))
    time.sleep(0.6)
    print("printed by the model's code")
    print("READY", flush=True)
    try:
        time.sleep(60 if sys.argv[1:] else 0.5)
    except KeyboardInterrupt:
        sys.exit(130)
"""


class Terminal:
    """A program on a pseudo-terminal, and what its screen shows."""

    def __init__(
        self, *words: str, columns: int = 80, lines: int = 24, shown: str = SHOWN, **more: str
    ) -> None:
        self.ours, theirs = pty.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        environment = {**os.environ, "PYTHONPATH": SEARCH, "TERM": "xterm-256color", **more}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            if name not in more:
                environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", shown, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
        )
        os.close(theirs)

    def read(self, until: bytes = b"") -> str:
        """What the screen shows once a text has come, or the program has ended."""
        deadline = time.monotonic() + 120
        with contextlib.suppress(OSError):  # Linux ends a pseudo-terminal with an error
            while (not until or until not in self.raw) and time.monotonic() < deadline:
                part = os.read(self.ours, 65536)
                if not part:
                    break
                self.raw += part
                self._stream.feed(part)
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def end(self) -> int:
        status = self.process.wait(60)
        os.close(self.ours)
        return status


def test_the_front_is_drawn_in_place_and_stays() -> None:
    terminal = Terminal()
    shown = terminal.read()
    assert terminal.end() == 0
    assert shown.count("score against predicted latency") == 1
    assert "best 0.79  30 of at most 40 trials  at most 2 min 5 s left" in shown
    assert "printed by the model's code" in shown
    for stage in ("reading the network", "measuring operators,", "calibrating", "searching"):
        (line,) = [each for each in shown.splitlines() if stage in each]
        assert len(line) <= 80
    assert "1183/1183" in shown
    assert not terminal.screen.cursor.hidden
    assert b"\x1b[?25l" in terminal.raw


#: Stages that do not tell of their end: that are whole or not, of unknown length, that come again,
#: and one that counts parts and ends before all of them.
ENDS = """
import sys, time
from automl.cli.progress import Bar
from automl.interrupts import endable
from automl.pipeline import Event
with endable(lambda error: None), Bar() as bar:
    for event in (
        Event("reading the network", 0, 1), Event("connecting"), Event("searching", 3, 40),
        Event("connecting"), Event("searching", 7, 40), Event("exporting", 0, 1),
    ):
        bar(event)
        time.sleep(0.3)
    print("READY", flush=True)
    if sys.argv[1:]:
        raise RuntimeError("failed")
"""
SPINNING = set("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")


@pytest.mark.parametrize("failed", [False, True])
def test_each_stage_that_ends_stands_still(failed: bool) -> None:
    terminal = Terminal(*(["fail"] if failed else []), shown=ENDS)
    shown = terminal.read(b"READY")
    (still,) = [each for each in shown.splitlines() if "reading the network" in each]
    assert not SPINNING & set(still)
    assert "1/1" in still
    lines = {line.split()[0]: line for line in terminal.read().splitlines() if "0:00:0" in line}
    assert terminal.end() == (1 if failed else 0)
    assert not SPINNING & set("".join(lines.values()))
    assert "1/1" in lines["reading"]
    assert "1/1" in lines["connecting"]
    assert "7/40" in lines["searching"]
    assert ("0/1" if failed else "1/1") in lines["exporting"]


def test_a_stage_that_comes_again_goes_on_with_its_time() -> None:
    view = View(Console(file=io.StringIO(), force_terminal=True))
    began = time.monotonic()
    for stage in ("searching", "solving", "searching", "solving"):
        view.show(Event(stage, 0, 1 if stage == "searching" else None))
        time.sleep(0.2)
    view.stop()
    whole = time.monotonic() - began
    times = [task.elapsed or 0.0 for task in view.tasks]
    assert min(times) >= 0.4
    assert sum(times) <= whole + 0.05  # neither counts the time of the other


@pytest.mark.parametrize(("columns", "lines"), [(80, 10), (40, 24), (20, 6)])
def test_a_small_terminal_shows_what_fits(columns: int, lines: int) -> None:
    terminal = Terminal(columns=columns, lines=lines)
    shown = terminal.read(b"READY")
    assert "0.79" in shown or columns == 20
    if lines < 12:
        assert "score against" not in shown
    terminal.read()
    assert terminal.end() == 0


def test_an_interrupt_leaves_the_terminal_whole() -> None:
    terminal = Terminal("long")
    terminal.read(b"READY")
    assert terminal.screen.cursor.hidden
    terminal.process.send_signal(signal.SIGINT)
    shown = terminal.read()
    assert terminal.end() == 130
    assert not terminal.screen.cursor.hidden
    assert shown.count("score against predicted latency") == 1


def test_without_colours_or_cursor_there_are_none() -> None:
    plain = Terminal(NO_COLOR="1")
    plain.read()
    assert plain.end() == 0
    assert b"\x1b[36m" not in plain.raw
    assert b"\x1b[32m" not in plain.raw
    dumb = Terminal(TERM="dumb")
    dumb.read()
    assert dumb.end() == 0
    assert b"\x1b" not in dumb.raw
