"""The streams of the command: what goes out is shown as text, whatever is in it.

The answer goes to stdout and all else to stderr. What the user's code prints, and what the programs
that it starts print, goes to stderr too.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NoReturn, TextIO

import typer

from automl.cli.manner import manner
from automl.errors import OutputError, UsageError, printable
from automl.interrupts import OverTime

#: Seconds that threads of the user's code have to end by themselves.
FAREWELL: Final = 5.0


class Stream:
    """A text stream for many writers, which none of them can close.

    What cannot be encoded is written as an escape.

    Args:
        under: The stream that is written to.
        answer: Whether it is the answer's: control characters are shown as escapes, and what cannot
            be written is an error. Else they pass, and it is lost.
    """

    def __init__(self, under: TextIO, *, answer: bool) -> None:
        self._under, self._answer = under, answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._under, name)

    def write(self, text: str) -> int:
        """Write a text.

        Raises:
            OutputError: The answer's was closed or is full.
        """
        shown = "\n".join(map(printable, text.split("\n"))) if self._answer else text
        try:
            self._under.write(shown)
        except UnicodeEncodeError as error:
            code = error.encoding
            self.write(shown.encode(code, "backslashreplace").decode(code))
        except (OSError, ValueError) as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Write what was held back.

        Raises:
            OutputError: As `write`.
        """
        try:
            self._under.flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def close(self) -> None:
        """Leave it open: it is not the caller's own."""

    def _fail(self, error: OSError | ValueError) -> None:
        if not self._answer:
            return
        with contextlib.suppress(OSError, ValueError):  # what it holds back would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._under.fileno())
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"stdout cannot be written: {reason}")


class _Answer:
    """Where the answer goes; None for wherever stdout goes."""

    stream: TextIO | None = None


class _Drawn:
    """What leaves the terminal whole where the process is ended at once."""

    def __init__(self) -> None:
        self.undo: Callable[[], object] | None = None


_drawn: Final = _Drawn()


@contextlib.contextmanager
def drawing(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` where the process is ended within the block; what leaves it does so itself."""
    _drawn.undo = undo
    try:
        yield
    finally:
        _drawn.undo = None


def say(text: str = "", *, end: str = "\n") -> None:
    """Print a line of the answer on stdout.

    Raises:
        OutputError: It cannot be written.
    """
    stream = _Answer.stream or sys.stdout
    stream.write(text + end)
    stream.flush()


def complain(text: str) -> None:
    """Print one line on stderr, as far as there is somebody to read it."""
    shown = json.dumps({"message": text}) if manner().as_json else printable(text)
    with contextlib.suppress(OSError, ValueError, OutputError):
        typer.echo(shown, err=True)


class _Told(logging.Handler):
    """Shows what the package logs as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        complain(f"automl: {record.levelname.lower()}: {record.getMessage()}")


@contextlib.contextmanager
def logging_shown(shown: bool) -> Iterator[None]:
    """Show all that the package logs, down to DEBUG, until the block ends; else as it is set."""
    if not shown:
        yield
        return
    log, handler = logging.getLogger("automl"), _Told()
    level, spread = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = spread


def hint(text: str) -> None:
    """Print a line on what to do next, unless only results are asked for.

    Raises:
        OutputError: It cannot be written.
    """
    if not manner().quiet:
        say(text)


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Keep stdout for the answer until the block ends.

    Raises:
        OutputError: There is no stdout.
    """
    _open_closed()
    if sys.stdout is None:
        raise OutputError("stdout is closed: there is nowhere to print the answer to")
    before, errors = sys.stdout, sys.stderr
    if errors is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the end
    answer: Any = Stream(_own(before), answer=True)
    sys.stdout = _Answer.stream = answer
    try:
        yield
    finally:
        sys.stdout, sys.stderr, _Answer.stream = before, errors, None


def leave_stdout() -> None:
    """Send what the user's code prints from now on to stderr, within `answering`."""
    if _Answer.stream is not None:
        errors: Any = Stream(sys.stderr, answer=False)
        sys.stdout = errors


def _open_closed() -> None:
    """Fill descriptors that were closed: the next file would be taken for one of the streams."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _own(stdout: TextIO) -> TextIO:
    """The stream under another descriptor; its own is stderr's from now on, for other programs."""
    try:
        plain = stdout is sys.__stdout__ and stdout.fileno() == 1
    except (OSError, ValueError, AttributeError):
        plain = False
    if not plain:
        return stdout
    stdout.flush()
    kept = os.fdopen(os.dup(1), "w", encoding=stdout.encoding, errors=stdout.errors)
    os.dup2(2, 1)
    return kept


def leave(status: int, known: Iterable[threading.Thread]) -> NoReturn:
    """End the process with a status, also where threads of the user's code go on for ever.

    Args:
        status: What it ends with.
        known: Threads that were there before the command.

    Raises:
        SystemExit: Always.
    """
    if _left(known):
        threading.Thread(target=_end_with_threads, args=(status, known), daemon=True).start()
    sys.exit(status)


def give_up(error: OverTime) -> None:
    """End the process, whose code cannot be interrupted; what was found so far is on disk."""
    complain(
        f"automl: code of the model or of its data hangs and cannot be interrupted: {error};"
        " what was found so far is in the run folder"
    )
    if _drawn.undo is not None:
        _drawn.undo()
    os._exit(UsageError.exit_status)


def _end_with_threads(status: int, known: Iterable[threading.Thread]) -> None:
    """Once the main thread has ended, end the process that others would keep."""
    threading.main_thread().join()
    deadline = time.monotonic() + FAREWELL
    while left := _left(known):
        if time.monotonic() > deadline:
            names = ", ".join(each.name for each in left)
            complain(f"automl: note: threads that did not end are ended: {names}")
            atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
            os._exit(status)
        time.sleep(0.05)


def _left(known: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Threads that the interpreter would wait for before it ends."""
    ours = {*known, threading.main_thread()}
    return [each for each in threading.enumerate() if not each.daemon and each not in ours]
