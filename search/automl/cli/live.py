"""What a terminal shows while a command works: stages, the front, the best so far, time left."""

from __future__ import annotations

from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from automl.cli.durations import duration
from automl.cli.front_plot import ROWS, FrontPlot
from automl.pipeline import Event

#: Pictures a second.
_RATE: Final = 4
#: Columns of a stage's name; what is longer is cut.
_NAME: Final = 22
#: Lines of the plot with what is said beneath it, and fewest lines left to stages beside it.
_PLOT: Final = ROWS + 4
_STAGES: Final = 4


class View:
    """Draws the stages of a command in place, with the front of a search as it grows.

    What does not fit the terminal is left out while it is drawn: the plot first, then stages that
    are over. The last picture, which stays, has all of it.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(*_columns(), console=console, auto_refresh=False)
        self._plot = FrontPlot()
        self._tasks: dict[str, TaskID] = {}
        self._said = ""
        self._over = False
        self._live = Live(self, console=console, refresh_per_second=_RATE)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Draw the last picture, and leave the terminal as it was."""
        self._over = True
        self._live.stop()

    def show(self, event: Event) -> None:
        """Take in an event."""
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=None, best="")
        best = "" if event.best is None else f"best {event.best:.4g}"
        self._progress.update(
            self._tasks[event.stage], completed=event.done, total=event.total, best=best
        )
        if event.trial is not None:
            self._plot.add(event.trial)
            self._said = _said(event)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.size.height - 1
        tasks = self._progress.tasks
        drawn = bool(self._plot) and (self._over or lines >= _PLOT + _STAGES)
        if not self._over:
            tasks = tasks[-max(1, lines - (_PLOT if drawn else 0)) :]
        parts: list[object] = [self._progress.make_tasks_table(tasks)] if tasks else []
        if drawn:
            parts += [self._plot, Text(self._said, no_wrap=True, overflow="ellipsis")]
        yield Group(*parts)  # type: ignore[arg-type]


def _columns() -> tuple[ProgressColumn, ...]:
    """A stage's line: 80 columns with the widest counts and times."""
    name = Column(no_wrap=True, overflow="ellipsis", max_width=_NAME, min_width=12)
    return (
        SpinnerColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=14),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[best]}", markup=False, table_column=Column(no_wrap=True)),
    )


def _said(event: Event) -> str:
    """The best so far, what is done and what is left."""
    words = [] if event.best is None else [f"best {event.best:.4g}"]
    of = "" if event.total is None else f" of at most {event.total:,}"
    words.append(f"{event.done:,}{of} trials")
    if event.left_seconds is not None:
        words.append(f"at most {duration(event.left_seconds)} left")
    return "  ".join(words)
