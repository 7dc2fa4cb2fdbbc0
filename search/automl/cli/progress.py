"""Progress on stderr: a bar in a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from dataclasses import replace
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from automl.cli.manner import manner
from automl.errors import printable
from automl.pipeline import Event

#: Between two lines where there is no terminal.
LINE_SECONDS: Final = 10.0


class Bar:
    """Listens to events; one line per stage. Use as a context manager.

    Where stderr is no terminal (CI, nohup, a pipe) a line every ten seconds says what is being done
    and how much of it is left, also while a stage has nothing to tell; so it does as JSON wherever
    that is asked for, and nothing is shown where only results are. What is printed meanwhile,
    by the user's code or by Ray of a worker that died, goes to stderr: stdout holds the answer
    alone.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        drawn = console.is_terminal and not (manner().quiet or manner().as_json)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}", markup=False),
            console=console,
            disable=not drawn,
        )
        self._lines = None if drawn or manner().quiet else _Lines(console)
        self._tasks: dict[str, TaskID] = {}
        self._meanwhile = contextlib.redirect_stdout(sys.stderr)

    def __enter__(self) -> Bar:
        self._meanwhile.__enter__()
        self._progress.start()
        if self._lines is not None:
            self._lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines is not None:
            self._lines.stop()
        self._progress.stop()
        self._meanwhile.__exit__(None, None, None)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        event = replace(event, stage=printable(event.stage))
        if self._lines is not None:
            self._lines.event = event
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=None, best="")
        best = "" if event.best is None else f"best {event.best:.4g}"
        self._progress.update(
            self._tasks[event.stage], completed=event.done, total=event.total, best=best
        )


class _Lines:
    """Prints the last event every ten seconds, from a thread of its own."""

    def __init__(self, console: Console) -> None:
        self.event: Event | None = None
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

    def _print(self) -> None:
        while not self._over.wait(LINE_SECONDS):
            if self.event is not None:
                seconds = time.monotonic() - self._start
                write = json_line if manner().as_json else line
                text = write(self.event, seconds)
                self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def line(event: Event, seconds: float) -> str:
    """What is being done, how much of it is left, and the best score so far."""
    words = [f"{seconds:.0f} s: {event.stage}"]
    if event.total is not None and event.total > 1:
        words.append(f"{event.done:,} of {event.total:,}")
    if event.best is not None:
        words.append(f"best {event.best:.4g}")
    return ", ".join(words)


def json_line(event: Event, seconds: float) -> str:
    """The same as a JSON object; what is not known is null."""
    said = {"seconds": round(seconds, 1), "stage": event.stage, "done": event.done}
    return json.dumps({**said, "total": event.total, "best": event.best})
