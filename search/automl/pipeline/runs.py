"""Run folders, and the search that goes into one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from automl.agents import default_trials
from automl.errors import OptionError
from automl.example import EXAMPLES, example_of
from automl.files import is_locked
from automl.options import SearchOptions, values_of
from automl.pipeline.requests import SearchRequest, Task


def check_single(options: SearchOptions) -> None:
    """Check that the options ask for one search.

    Raises:
        OptionError: The budget asks for several.
    """
    if len(options.budgets) > 1:
        raise OptionError("budget", "asks for several searches, which a front makes")


def make_request(task: Task, options: SearchOptions) -> SearchRequest:
    """The search that the options ask for, in the folder that they name or in one of its own.

    Raises:
        OptionError: The budget asks for several searches.
    """
    check_single(options)
    return first_request(task, options)


def first_request(task: Task, options: SearchOptions) -> SearchRequest:
    """The first of the searches that the options ask for; its folder is that of them all."""
    budget = options.budgets[0]
    names = [_short_name(task.model_name), Path(options.target).stem, *budget]
    out = run_folder(names, options.resume) if options.out is None else options.out
    return SearchRequest(task=task, **values_of(options) | {"budget": budget, "out": out})


def most_trials(request: SearchRequest) -> int | None:
    """Most policies to score: the agent's own number where neither that nor a time was asked for.

    None where there is no such limit.
    """
    if request.trials is not None or request.time is not None:
        return request.trials
    return default_trials(request.agent)


def run_folder(names: Sequence[str], resume: bool) -> Path:
    """runs/NAME, numbered so that no earlier run is touched.

    A folder whose search ended before its study began is taken again, one whose search is running
    is not. With `resume`, the latest run of that name.
    """
    words = "-".join(names).replace("%", "pct")
    name = re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-.") or "run"
    number = 1
    folder = latest = Path("runs") / name
    while _is_taken(folder):
        latest, number = folder, number + 1
        folder = Path("runs") / f"{name}-{number}"
    return latest if resume else folder


def _is_taken(folder: Path) -> bool:
    """Whether a search, or one of a front's, was done in a folder or runs in it."""
    if not folder.is_dir():
        return False
    folders = (folder, *(each for each in folder.iterdir() if each.is_dir()))
    kept = any((each / name).exists() for each in folders for name in ("study.db", "policy.json"))
    return kept or is_locked(folder)


def _short_name(model: str) -> str:
    example = example_of(model)
    if example is None:
        return model.rpartition(":")[2]
    return "example" if example == EXAMPLES[0] else example.name
