"""Worked examples: folders with a model, its training, its data and settings, to be copied."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from automl.errors import OutputError, UnknownNameError

_IGNORED: Final = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A folder that can be copied and runs by itself.

    Attributes:
        name: What it is asked for by.
        summary: What it shows, in one line: the title of its README.
        path: Where it lies.
    """

    name: str
    summary: str
    path: Path


def worked_examples() -> tuple[WorkedExample, ...]:
    """All that are shipped, by name."""
    folders = sorted(each.parent for each in _folder().glob("*/README.md"))
    return tuple(WorkedExample(each.name, _title(each), each) for each in folders)


def copy_worked_example(name: str, folder: Path) -> WorkedExample:
    """Copy an example into a new or empty folder, whole or not at all.

    Raises:
        UnknownNameError: There is none of that name; names the nearest.
        OutputError: The folder holds something, or cannot be written.
    """
    known = {each.name: each for each in worked_examples()}
    if name not in known:
        raise UnknownNameError("example", name, known)
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputError(f"{folder} is there already and not an empty folder: it is kept")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".automl-") as scratch:
            copied = Path(scratch, "copy")
            shutil.copytree(known[name].path, copied, ignore=_IGNORED)
            os.replace(copied, folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return known[name]


def _folder() -> Path:
    """Where they are: in an installed package, else in the checkout."""
    shipped = Path(str(resources.files("automl") / "examples"))
    return shipped if shipped.is_dir() else Path(__file__).resolve().parents[3] / "examples"


def _title(folder: Path) -> str:
    with (folder / "README.md").open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
