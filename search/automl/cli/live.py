"""What a terminal shows while a command works: stages, the front, the best so far, time left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
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
        self._now: Task | None = None
        self._said = ""
        self._over = False
        self._live = Live(self, console=console, refresh_per_second=_RATE)

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self, failed: bool = False) -> None:
        """Draw the last picture, and leave the terminal as it was.

        Args:
            failed: Whether the stage that is shown last did not come to its end.
        """
        self._over = True
        self._end(failed)
        self._live.stop()

    @property
    def tasks(self) -> Sequence[Task]:
        """The stages so far, in the order in which they began."""
        return self._progress.tasks

    def show(self, event: Event) -> None:
        """Take in an event; with one of another stage the last one is over."""
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=None, best="")
        number = self._tasks[event.stage]
        (task,) = (each for each in self._progress.tasks if each.id == number)
        if task is not self._now:
            self._end()
            self._begin(task)
        best = "" if event.best is None else f"best {event.best:.4g}"
        if task.total != event.total:
            task.total, task.finished_time = event.total, None
        self._progress.update(number, completed=event.done, best=best)
        if event.trial is not None:
            self._plot.add(event.trial)
            self._said = _said(event)

    def _begin(self, task: Task) -> None:
        """A stage begins, or goes on: its times are told together."""
        if task.stop_time is not None and task.start_time is not None:
            task.start_time += self._progress.get_time() - task.stop_time
            task.stop_time = task.finished_time = None
        self._now = task

    def _end(self, failed: bool = False) -> None:
        """The stage that is shown is over, whether it told of its end or not.

        One that counts parts keeps its count: a search may end before all its trials. One that is
        whole or not has been done, unless it failed.
        """
        task = self._now
        if task is None:
            return
        self._progress.stop_task(task.id)
        if not failed and (task.total is None or task.total <= 1):
            whole = max(1, int(task.completed))
            task.total = whole
            self._progress.update(task.id, completed=whole)

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


class _Spinner(SpinnerColumn):
    """Turns while a stage is worked on."""

    def render(self, task: Task) -> RenderableType:
        return Text(" ") if task.stop_time is not None else super().render(task)


class _Left(TimeRemainingColumn):
    """The time that a stage still takes; none is left of one that is over."""

    def render(self, task: Task) -> Text:
        return Text("0:00:00", "progress.remaining") if task.stop_time else super().render(task)


def _columns() -> tuple[ProgressColumn, ...]:
    """A stage's line: 80 columns with the widest counts and times."""
    name = Column(no_wrap=True, overflow="ellipsis", max_width=_NAME, min_width=12)
    return (
        _Spinner(table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=14),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        _Left(table_column=Column(no_wrap=True)),
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
