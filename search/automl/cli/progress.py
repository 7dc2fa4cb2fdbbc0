"""Progress on stderr: a view that is drawn anew in a terminal, elsewhere now and then a line."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from dataclasses import replace
from typing import Final

from rich.console import Console

from automl.cli.durations import duration
from automl.cli.live import View
from automl.cli.manner import manner
from automl.cli.terminal import drawing
from automl.errors import printable
from automl.pipeline import Event, TrialPoint
from automl.units import format_macs, format_quantity

#: Between two lines where there is no terminal.
LINE_SECONDS: Final = 10.0


class Bar:
    """Listens to events; shows one line per stage, and the front. Use as a context manager.

    Where stderr is no terminal (CI, nohup, a pipe) a line every ten seconds says what is being done
    and how much of it is left, also while a stage has nothing to tell; so it does as JSON wherever
    that is asked for, and nothing is shown where only results are. Where more is asked for, each
    stage that begins and each trial that ends has a line as well. What is printed meanwhile,
    by the user's code or by Ray of a worker that died, goes to stderr: stdout holds the answer
    alone.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        drawn = terminal and not (manner().quiet or manner().as_json)
        self._view = View(self._console) if drawn else None
        self._lines = None if drawn or manner().quiet else _Lines(self._console)
        self._start, self._stage = time.monotonic(), ""
        self._meanwhile = contextlib.redirect_stdout(sys.stderr)
        self._drawing: contextlib.AbstractContextManager[None] = contextlib.nullcontext()

    def __enter__(self) -> Bar:
        self._meanwhile.__enter__()
        if self._view is not None:
            self._drawing = drawing(lambda: self._console.show_cursor(True))
            self._drawing.__enter__()
            self._view.start()
        if self._lines is not None:
            self._lines.start()
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        if self._lines is not None:
            self._lines.stop()
        if self._view is not None:
            self._view.stop(failed=kind is not None)
            self._drawing.__exit__(None, None, None)
        self._meanwhile.__exit__(None, None, None)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        event = replace(event, stage=printable(event.stage))
        if manner().verbose:
            self._tell(event)
        if self._lines is not None:
            self._lines.tell(event)
        if self._view is not None:
            self._view.show(event)

    def _tell(self, event: Event) -> None:
        """A line of each stage that begins and each trial that ends."""
        seconds = time.monotonic() - self._start
        if event.stage != self._stage:
            self._stage = event.stage
            write = json_line if manner().as_json else line
            _print(self._console, write(replace(event, trial=None), seconds))
        if event.trial is not None:
            tell = json_trial if manner().as_json else trial_line
            _print(self._console, tell(event.trial, seconds))


class _Lines:
    """Prints the last event every ten seconds, from a thread of its own."""

    def __init__(self, console: Console) -> None:
        self._event: Event | None = None
        self._began = 0.0  # the event's stage
        self._console = console
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._print, daemon=True)
        self._start = time.monotonic()

    def start(self) -> None:
        """Begin to print."""
        self._thread.start()

    def stop(self) -> None:
        """Print no more."""
        self._over.set()
        self._thread.join()

    def tell(self, event: Event) -> None:
        """What lines say from now on."""
        if self._event is None or event.stage != self._event.stage:
            self._began = time.monotonic()
        self._event = event

    def _print(self) -> None:
        while not self._over.wait(LINE_SECONDS):
            if self._event is not None:
                now = time.monotonic()
                write = json_line if manner().as_json else line
                _print(self._console, write(self._event, now - self._start, now - self._began))


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def line(event: Event, seconds: float, within: float = 0.0) -> str:
    """What is being done, how much of it is left or how long it has taken, and the best score.

    Args:
        event: The last that was told.
        seconds: Since the beginning.
        within: Of them, since the stage began.
    """
    words = [f"{seconds:.0f} s: {event.stage}"]
    if event.total is not None and event.total > 1:
        words.append(f"{event.done:,} of {event.total:,}")
    elif within >= 1.0:
        words[0] += f" for {within:.0f} s"
    if event.best is not None:
        words.append(f"best {event.best:.4g}")
    if event.left_seconds is not None:
        words.append(f"at most {duration(event.left_seconds)} left")
    return ", ".join(words)


def json_line(event: Event, seconds: float, within: float = 0.0) -> str:
    """The same as a JSON object; what is not known is null."""
    said = {"seconds": round(seconds, 1), "stage": event.stage, "stage_seconds": round(within, 1)}
    left = None if event.left_seconds is None else round(event.left_seconds, 1)
    told = {"done": event.done, "total": event.total, "best": event.best, "left_seconds": left}
    return json.dumps({**said, **told})


def trial_line(trial: TrialPoint, seconds: float) -> str:
    """One trial: what it scored, or why it did not, and what it costs."""
    words = [f"{seconds:.0f} s: trial {trial.number}"]
    words.append(f"score {trial.score:.4g}" if trial.score is not None else trial.state.lower())
    if trial.latency is not None:
        words.append(format_quantity("latency", trial.latency, trial.course.unit))
    words += [format_macs(trial.macs), f"in {trial.seconds:.2g} s"]
    return printable(", ".join(words) + (f": {trial.reason}" if trial.reason else ""))


def json_trial(trial: TrialPoint, seconds: float) -> str:
    """The same as a JSON object; what is not known is null."""
    said = {"seconds": round(seconds, 1), "trial": trial.number, "state": trial.state}
    costs = {"latency": trial.latency, "macs": trial.macs, "bytes": trial.bytes}
    took = {"took_seconds": round(trial.seconds, 3), "reason": trial.reason}
    return json.dumps({**said, "score": trial.score, **costs, **took})
