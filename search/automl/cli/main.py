"""`automl`: the commands, and how an error ends them."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Annotated, Final

import typer

import automl
from automl.cli import devices, methods, policies, searches, sweeps, tables
from automl.errors import AutomlError, OptionError, Raised, UsageError, nearest

app = typer.Typer(
    name="automl",
    help="Find the most accurate compressed model that meets a budget on your device.",
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich costs a third of the time that --help may take
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("search")(searches.search)
app.command("sweep")(sweeps.sweep)
app.command("apply")(policies.apply)
app.command("verify")(policies.verify)
app.command("show")(policies.show)
app.command("profile")(devices.profile)
app.command("targets")(devices.targets)
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
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    del debug, version  # `run` takes --debug off the line, wherever it stands


def run() -> None:
    """Run the command and end the process.

    0: done; 2: the user can mend it; 3: the budget cannot be met; 130: Ctrl-C; 1: an error of ours.
    Each error is one line on stderr; `--debug` shows the traceback.
    """
    words = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(words) < len(sys.argv) - 1
    words = words or ["--help"]
    if not debug:
        sys.excepthook = _one_line
    try:
        # not app(): that would put typer's own excepthook in place of ours
        status = typer.main.get_command(app).main(words, "automl", standalone_mode=False) or 0
    except (AutomlError, typer.TyperException) as error:
        if debug:
            raise
        message = with_flags(error) if isinstance(error, AutomlError) else _usage(error)
        typer.echo(f"automl: {message}", err=True)
        sys.exit(error.exit_status if isinstance(error, AutomlError) else UsageError.exit_status)
    except KeyboardInterrupt:
        status = 130
    if status == 130:
        typer.echo("automl: interrupted", err=True)
    sys.exit(status)


#: Options that the command writes otherwise than Python does.
_WRITTEN: Final = {"profile": "import", "epochs": "finetune"}


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
    shown = Raised(error) if isinstance(error, Exception) else kind.__name__
    typer.echo(f"automl: unexpected {shown}; --debug shows the traceback", err=True)
