"""`automl`: the commands, and how an error ends them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from types import TracebackType
from typing import Annotated, Final

import typer

import automl
from automl.cli import (
    bundles,
    comparisons,
    dashboard,
    devices,
    doctor,
    methods,
    policies,
    reports,
    searches,
    starting,
    sweeps,
    tables,
    worked,
)
from automl.cli.manner import speaking, split_manner
from automl.cli.terminal import answering, complain, give_up, leave, logging_shown
from automl.cli.waiting import wait_briefly_where_busy
from automl.errors import AutomlError, OptionError, Raised, UsageError, nearest
from automl.interrupts import asked_to_end, endable

_NAME: Final = "automl"
#: Set by a shell that asks how a line may go on, and what tells a shell to ask.
_COMPLETING: Final = "_AUTOML_COMPLETE"
_COMPLETION: Final = frozenset(("--install-completion", "--show-completion"))

app = typer.Typer(
    name=_NAME,
    help="Find the most accurate compressed model that meets a budget on your device.",
    rich_markup_mode=None,  # plain help: rich costs a third of the time that --help may take
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("search")(searches.search)
app.command("init")(starting.init)
app.command("examples")(worked.examples)
app.command("sweep")(sweeps.sweep)
app.command("apply")(policies.apply)
app.command("verify")(policies.verify)
app.command("show")(policies.show)
app.command("pack")(bundles.pack)
app.command("inspect")(bundles.inspect)
app.command("compare")(comparisons.compare)
app.command("report")(reports.report)
app.command("profile")(devices.profile)
app.command("targets")(devices.targets)
app.command("dashboard")(dashboard.dashboard)
app.command("doctor")(doctor.doctor)
app.command("agents")(methods.agents)
app.command("methods")(methods.methods)
app.add_typer(tables.app, name="table")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"automl {automl.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Also each stage, each trial and what is logged."),
    ] = False,
    log_format: Annotated[
        str, typer.Option("--log-format", metavar="text|json", help="Of the lines on stderr.")
    ] = "text",
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    del (
        debug,
        quiet,
        verbose,
        log_format,
        version,
    )  # `run` takes these off the line, wherever they stand


def run() -> None:
    """Run the command and end the process.

    0: done; 2: the user can mend it; 3: the budget cannot be met; 130: Ctrl-C, or a signal that
    asked it to end; 1: an error of ours. Each error is one line on stderr; `--debug` shows the
    traceback.
    """
    if _COMPLETING in os.environ or {*sys.argv[1:2]} & _COMPLETION:
        typer.main.get_command(app).main(sys.argv[1:], _NAME)  # ends the process
    wait_briefly_where_busy()
    given = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(given) < len(sys.argv) - 1
    if not debug:
        sys.excepthook = _one_line
    known = threading.enumerate()
    with endable(give_up), contextlib.ExitStack() as stack:
        try:
            words, manner = split_manner(given)
            stack.enter_context(speaking(manner))
            stack.enter_context(logging_shown(manner.verbose))
            with answering():
                # not app(): that would put typer's own excepthook in place of ours
                command = typer.main.get_command(app)
                status = command.main(words or ["--help"], _NAME, standalone_mode=False) or 0
        except _TOLD as error:
            if debug:
                raise
            status = _tell(error)
        except KeyboardInterrupt:
            status = _INTERRUPTED
        if status == _INTERRUPTED:
            status = _tell_interrupt()
    leave(status, known)


#: What is told in one line; all else is an error of ours.
_TOLD: Final = (AutomlError, typer.TyperException, OSError, SystemExit, typer.Abort)


def _tell(error: BaseException) -> int:
    """Tell what ended a command in one line; gives its status."""
    if isinstance(error, AutomlError):
        complain(f"automl: {with_flags(error)}")
        return error.exit_status
    said = _usage(error) if isinstance(error, typer.TyperException) else _of_the_system(error)
    complain(f"automl: {said}")
    return UsageError.exit_status


def _tell_interrupt() -> int:
    if asked_to_end():
        complain("automl: interrupted")
        return _INTERRUPTED
    complain("automl: code of the model or of its data raised KeyboardInterrupt by itself")
    return UsageError.exit_status


#: What a command ends with that somebody ended.
_INTERRUPTED: Final = 130


def _of_the_system(error: BaseException) -> str:
    """One line on what the system refused, or on what the user's code did with the program."""
    if isinstance(error, typer.Abort):
        return "something reads from standard input, which has ended"
    if isinstance(error, SystemExit):
        return f"code of the model or of its data ended the program: {Raised(error)}"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    file = getattr(error, "filename", None)
    return reason if file is None else f"{file}: {reason}"


#: Options that the command writes otherwise than Python does.
_WRITTEN: Final = {"profile": "import"}


def with_flags(error: AutomlError) -> str:
    """The error's message, and how the options that mend it are written on the command line."""
    said = str(error)
    if isinstance(error, OptionError) and not error.place:
        said = f"{flag_of(error.option)}: {error.reason}"
    flags = [flag_of(option) for option in error.options]
    return f"{said} ({', '.join(flags)})" if flags else said


def flag_of(option: str) -> str:
    """How the command writes an option of that name."""
    return f"--{_WRITTEN.get(option, option).replace('_', '-')}"


def _usage(error: typer.TyperException) -> str:
    """Typer's message, with the nearest flag in place of all that look alike."""
    flags = getattr(error, "possibilities", None)
    if not flags:
        return error.format_message()
    return error.message + nearest(error.message.rpartition(" ")[2], flags, count=1)


def _one_line(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    del kind
    shown = Raised(error)
    complain(f"automl: unexpected {shown}; --debug shows the traceback")
