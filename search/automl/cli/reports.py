"""`automl report`: what searches did, as one page."""

from __future__ import annotations

import shlex
import webbrowser
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.flags import Json
from automl.cli.terminal import complain, hint, say
from automl.errors import AutomlError

if TYPE_CHECKING:
    from automl.report import Reported

Folders = Annotated[
    list[Path],
    typer.Argument(metavar="RUN_OR_SWEEP...", help="Folders of runs, of fronts, of sweeps."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FILE", help="The page. [default: report.html in the one folder]"
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open it in a browser.")]


def report(folders: Folders, out: Out = None, open_: Open = False, json: Json = False) -> None:
    """Write what searches did as one HTML page that needs no network."""
    from automl.report import write_report
    from automl.units import format_bytes

    written = write_report(folders, out)
    if json:
        say(dumps(asdict(written) | {"path": str(written.path)}, indent=2))
    else:
        counts = {"run": len(written.runs), "sweep": len(written.sweeps)}
        shown = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
        for note in (*written.problems, *written.notes):
            say(f"note: {note}")
        say(f"{' and '.join(shown)}, {written.trials:,} trials")
        say(f"report: {written.path} ({format_bytes(written.bytes)})")
    if open_ and not _open(written.path):
        complain(f"automl: note: no browser was found here; {written.path} opens in any")
    if not (json or open_):
        hint(f"\nNext: {shlex.join(('python', '-m', 'webbrowser', str(written.path)))}")


def _open(path: Path) -> bool:
    """Show a file in a browser; gives whether there is one."""
    try:
        return webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False


def reported(folder: Path) -> Reported | None:
    """The report of a run that has ended, in its folder; None where it cannot be made.

    What it cannot be made for is said and ends nothing: the run itself is whole.
    """
    from automl.report import write_report

    if not folder.is_dir():
        return None
    try:
        return write_report([folder])
    except AutomlError as error:
        complain(f"automl: note: no report of {folder}: {error}")
        return None


def say_look(written: Reported | None) -> None:
    """The last line of what leaves a report: the command that opens it."""
    if written is not None:
        hint(f"Look: {shlex.join(('automl', 'report', str(written.path.parent), '--open'))}")
