"""A progress bar on stderr with the best so far; nothing where stderr is no terminal."""

from __future__ import annotations

import contextlib
import sys

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

from automl.pipeline import Event


class Bar:
    """Listens to events; one line per stage. Use as a context manager.

    What is printed meanwhile, by the user's code or by Ray of a worker that died, goes to stderr:
    stdout holds the answer alone.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._meanwhile = contextlib.redirect_stdout(sys.stderr)

    def __enter__(self) -> Bar:
        self._meanwhile.__enter__()
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self._meanwhile.__exit__(None, None, None)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=None, best="")
        best = "" if event.best is None else f"best {event.best:.4g}"
        self._progress.update(
            self._tasks[event.stage], completed=event.done, total=event.total, best=best
        )
