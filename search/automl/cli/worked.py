"""`automl examples`: worked examples, listed and copied."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from automl.cli.flags import Json
from automl.cli.terminal import hint, say
from automl.example import copy_worked_example, worked_examples

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="The one to copy.")]
Folder = Annotated[
    Path | None, typer.Argument(metavar="[FOLDER]", help="Where to. [default: its name]")
]


def examples(name: Name = None, folder: Folder = None, json: Json = False) -> None:
    """List worked examples, or copy one that runs as it is."""
    if name is None:
        _list(json)
        return
    target = Path(name) if folder is None else folder
    copied = copy_worked_example(name, target)
    if json:
        from automl.cli import render

        render.print_json(copied)
        return
    say(f"{copied.name}: {copied.summary}")
    for each in sorted(path for path in target.rglob("*") if path.is_file()):
        say(f"  {each}")
    hint(f"\nNext: cd {shlex.quote(str(target))} && python train.py && automl search")


def _list(json: bool) -> None:
    found = worked_examples()
    if json:
        from automl.cli import render

        render.print_json(found)
        return
    width = max(len(each.name) for each in found)
    for each in found:
        say(f"{each.name:{width}}  {each.summary}")
    hint(f"\nNext: automl examples {found[0].name}")
