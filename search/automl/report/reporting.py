"""From folders to a page: what each is, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

import automl
from automl.errors import StudyError, nearest
from automl.report.page import write_page
from automl.report.runs import is_run, read_run
from automl.report.staged import stage_folders
from automl.report.sweeps import is_sweep, read_sweep

#: In a run's folder.
REPORT: Final = "report.html"
#: Most runs of one page: each is shown whole.
MOST_RUNS: Final = 100
#: What is said of runs that have not come to their end.
_STATES: Final = {
    "running": "is still going: what it found so far is shown",
    "unfinished": "did not come to its end: what it found is shown",
    "interrupted": "was ended early: what it found is shown",
}


@dataclass(frozen=True, slots=True)
class Reported:
    """A page that was written.

    Attributes:
        path: Where.
        bytes: Its size.
        runs, sweeps: Folders that it shows.
        trials: Trials of all runs.
        problems: What of these could not be read.
        notes: Which runs are still going or never ended, and where not every trial is drawn.
    """

    path: Path
    bytes: int
    runs: tuple[str, ...]
    sweeps: tuple[str, ...]
    trials: int
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def write_report(folders: Sequence[Path | str], out: Path | str | None = None) -> Reported:
    """Write a page of runs, of fronts (whose runs are in its folder) and of sweeps.

    Args:
        folders: What is shown, in this order.
        out: The file; None for report.html in the folder, where there is one.

    Raises:
        StudyError: A folder that holds no run, with the nearest that does; results that cannot be
            read; or a page that cannot be written.
        UsageError: plotly is not installed.
    """
    given = [Path(folder) for folder in folders]
    sweeps = [folder for folder in given if is_sweep(folder)]
    runs = [run for folder in given if folder not in sweeps for run in runs_in(folder)]
    runs = list(dict.fromkeys(runs))
    if len(runs) > MOST_RUNS:
        raise StudyError(f"{len(runs)} runs are too many for one page: at most {MOST_RUNS} are")
    labels = short_names([*runs, *sweeps])
    shown = [read_run(run, labels[run]) for run in runs]
    swept = [read_sweep(folder, labels[folder]) for folder in sweeps]
    path = Path(out) if out is not None else _default(given)
    if path.is_dir():
        path = path / REPORT
    made = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    document = {"made": made, "automl": automl.__version__, "runs": shown, "sweeps": swept}
    size = write_page(document, ", ".join(labels.values()) or "automl", path)
    problems = [
        f"{each['label']}: {text}" for each in (*shown, *swept) for text in each["problems"]
    ]
    trials = sum(each["counted"] for each in shown)
    names = tuple(map(str, runs)), tuple(map(str, sweeps))
    notes = tuple(chain.from_iterable(map(_notes, shown)))
    return Reported(path, size, *names, trials, tuple(problems), notes)


def _notes(run: dict[str, Any]) -> Iterator[str]:
    """What the page says of a run in its head, for those who do not look at it."""
    if run["state"] in _STATES:
        yield f"{run['label']} {_STATES[run['state']]}"
    if run["shown"] < run["counted"]:
        yield f"{run['label']}: {run['shown']:,} of its {run['counted']:,} trials are drawn"


def runs_in(folder: Path) -> list[Path]:
    """The runs of a folder: itself with its stages, or those of the front in it.

    Raises:
        StudyError: There are none; names the nearest folder that is one.
    """
    if is_run(folder):
        return [folder, *filter(is_run, stage_folders(folder))]
    if folder.is_dir():
        found = sorted(each for each in folder.iterdir() if each.is_dir() and is_run(each))
        if found:
            return found
        raise StudyError(f"{folder} holds no run of a search, and no results of a sweep")
    what = "is no folder" if folder.exists() else "does not exist"
    raise StudyError(f"{folder} {what}{nearest(folder.name, _folders_beside(folder))}")


def short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """What to call folders: the last parts of their paths, as many as tell them apart."""
    for count in range(1, 20):
        names = {folder: "/".join(folder.resolve().parts[-count:]) for folder in folders}
        if len(set(names.values())) == len(names):
            return names
    return {folder: str(folder) for folder in folders}


def _folders_beside(folder: Path) -> list[str]:
    try:
        return [each for each in os.listdir(folder.parent) if is_run(folder.parent / each)]
    except OSError:
        return []


def _default(folders: Sequence[Path]) -> Path:
    return folders[0] / REPORT if len(folders) == 1 else Path(REPORT)
