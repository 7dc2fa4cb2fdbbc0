"""`automl init`: a first automl.toml, written once what it names is found to work."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from automl.cli.flags import flags_of, takes_flags
from automl.cli.terminal import complain, hint, leave_stdout, say
from automl.errors import AutomlError, UsageError
from automl.files import write_whole
from automl.options import SearchOptions, TaskOptions
from automl.userdata import Settings, settings_text

if TYPE_CHECKING:
    from automl.pipeline import Task

_FILE: Final = "automl.toml"
#: What is asked for, in this order, and how.
QUESTIONS: Final[Mapping[str, str]] = {
    "model": "Model, a function that makes it (FILE.py:NAME or module:NAME)",
    "weights": "Weights, a state dict (Enter where the model has its own)",
    "data": "Data (FILE.py:NAME of a function, folder:PATH?size=224 of pictures, FILE.npz)",
    "target": "Device (automl targets lists them; Enter for cpu, this machine)",
    "budget": "Budget (10ms, 50%, 4MB, 50%size, 60MMACs; Enter for 50%)",
}
#: What an empty answer means; where nothing stands here, one has to be given.
_USUAL: Final = {"weights": "", "target": "cpu", "budget": "50%"}
_OPTIONS: Final = flags_of(
    TaskOptions,
    SearchOptions,
    only=("model", "weights", "data", "score", "input_shape", "target", "budget"),
)
Force = Annotated[bool, typer.Option("--force", help="Write it anew where there is one.")]


@takes_flags(*_OPTIONS)
def init(*, force: Force = False, **flags: Any) -> None:
    """Write a first automl.toml: asks, tries model and data, then writes."""
    path = Path.cwd() / _FILE
    if os.path.lexists(path) and not force:
        raise UsageError(f"{_FILE} is there already, and stays as it is", options=("force",))
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    _check_names(given)
    here = sys.stdin is not None and sys.stdin.isatty()
    task = _asked(given) if here else _tried(given)
    write_whole(path, settings_text(given))
    _tell(task)
    say(f"written: {_FILE}")
    hint("\nNext: automl search")


def _tried(given: Mapping[str, Any]) -> Task:
    """What the flags name, loaded and run once.

    Raises:
        UsageError: Some are missing: there is no terminal to ask at.
    """
    missing = [name for name in QUESTIONS if name not in given and name not in _USUAL]
    missing += [name for name in ("target", "budget") if name not in given]
    if missing:
        raise UsageError("there is no terminal to ask at: give what is missing", options=missing)
    _try_target(given)
    return _task(given)


def _asked(given: dict[str, Any]) -> Task:
    """Ask for what flags did not say, once more where an answer does not work; then load it."""
    task: Task | None = None
    for name, question in QUESTIONS.items():
        if name in given:
            task = _try(given, name) or task
            continue
        while True:
            answer = _answer(question) or _USUAL.get(name, "")
            if not answer and name in _USUAL:
                break
            changed = {**given, name: [answer] if name == "budget" else answer}
            try:
                task = _try(changed, name) or task
            except AutomlError as error:
                complain(f"  {error}")
                continue
            given.update(changed)
            break
    assert task is not None  # data was asked for
    return task


def _answer(question: str) -> str:
    sys.stderr.write(f"{question}: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise UsageError("standard input ended before the last question: nothing was written")
    return line.strip()


def _try(given: Mapping[str, Any], name: str) -> Task | None:
    """Find out whether what was said of an option works; gives the task once data is known."""
    from automl import userdata

    _check_names({name: given[name]} if name in given else {})
    if name in ("model", "weights"):
        leave_stdout()
        userdata.load_model(given["model"], _path(given.get("weights")))
    elif name == "data":
        return _task(given)
    elif name == "target":
        _try_target(given)
    return None


def _try_target(given: Mapping[str, Any]) -> None:
    from automl.latency import find_table

    find_table(given["target"])


def _check_names(given: Mapping[str, Any]) -> Settings:
    """The values by name, in their own types."""
    return Settings().with_flags({each: given.get(each.name) for each in _OPTIONS})


def _task(given: Mapping[str, Any]) -> Task:
    from automl.cli import resolve

    return resolve.load_task(_check_names(given))


def _path(written: str | None) -> Path | None:
    return None if written is None else Path(written)


def _tell(task: Task) -> None:
    """What was found of model and data."""
    numbers = sum(each.numel() for each in task.model.parameters())
    say(f"model    {task.model_name}: {numbers:,} parameters")
    data = task.data
    counted = [(data.calibration, "calibration"), (data.validation, "validation")]
    counted += [] if data.test is None else [(data.test, "test")]
    shape = " x ".join(map(str, task.input_shape[1:]))
    parts = ", ".join(f"{part.images:,} {name}" for part, name in counted)
    say(f"data     {task.data_name}: {parts} inputs of {shape}")
    say(f"score    {task.score_name}")
    for note in task.notes:
        say(f"note: {note}")
