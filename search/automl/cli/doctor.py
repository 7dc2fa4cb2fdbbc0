"""`automl doctor`: what this machine can do, and what to install for what."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import typer

from automl.cli.flags import Json

if TYPE_CHECKING:
    from automl.profiling import Examination

_UNTOLD: Final = "the system does not tell"
#: Columns of what a line is about.
_COLUMN: Final = 16
#: What is wrong with the machine can be mended by its user.
_BROKEN: Final = 2


def doctor(json: Json = False) -> None:
    """Tell what this machine can do, and what to install for what."""
    from automl.cli import render
    from automl.profiling import examine

    found = examine()
    if json:
        render.print_json(found)
    else:
        _print(found)
    if found.problems:
        raise typer.Exit(_BROKEN)


def _print(found: Examination) -> None:
    from automl.cli import render

    for title, text in _machine(found):
        _say(title, text)
    needed = [each for each in found.packages if each.needed]
    render.say("\npackages that it needs:")
    _say("", ", ".join(f"{each.name} {each.version or '(missing)'}" for each in needed))
    render.say("\npackages for more:")
    for each in found.packages:
        if not each.needed:
            _say(each.name, f"{each.version or 'not installed'}: {each.purpose}")
            if not each.version:
                _say("", f"{'':{_COLUMN + 1}}{each.install}")
    render.say("\nfolders:")
    for folder in found.folders:
        state = "" if folder.exists else " (not there yet)"
        _say(folder.purpose, f"{folder.path or 'nowhere'}{state if folder.writable else ''}")
    if not found.problems:
        render.say("\nnothing that is needed is broken")
        render.say_next("automl search --target cpu --budget 50%")
        return
    render.say("\nbroken:")
    for problem in found.problems:
        _say("", problem)
    for package in needed:
        if package.problem:
            _say("mend with", package.install)


def _machine(found: Examination) -> Iterator[tuple[str, str]]:
    """What there is to say of processor, memory and runtimes, by what it is about."""
    from automl.units import format_bytes

    state = found.state
    yield "system", f"{found.system}, Python {found.python}"
    yield "processor", state.processor
    yield "cores", f"{state.cores} that this process may use"
    yield "instructions", ", ".join(found.instructions) or _UNTOLD
    yield "byte products", _products(found.saturates)
    now = "" if state.clock_hertz is None else f"{state.clock_hertz / 1e9:.2f} GHz now"
    clocks = ", ".join(filter(None, (now, state.clocks, state.power_mode, state.throttled)))
    yield "clocks", clocks or _UNTOLD
    if found.memory_bytes is not None and found.available_bytes is not None:
        available = format_bytes(found.available_bytes)
        yield "memory", f"{format_bytes(found.memory_bytes)}, {available} of it left"
    loaded = ", ".join(f"{name} {version}" for name, version in found.runtimes.items())
    yield "measures with", loaded or "nothing: no runtime can be loaded"


def _products(saturates: bool | None) -> str:
    if saturates is None:
        return "not known: ONNX Runtime cannot be asked"
    if saturates:
        return "saturate in ONNX Runtime here: weights get 7 bits, or exact kernels"
    return "are exact in ONNX Runtime here"


def _say(title: str, text: str) -> None:
    """A line, folded behind what it is about."""
    from automl.cli import render

    filled = textwrap.wrap(
        f"{title:<{_COLUMN}} {text}" if title else text,
        render.WIDTH,
        initial_indent=" ",
        subsequent_indent=" " * (_COLUMN + 2 if title else 1),
        break_on_hyphens=False,
        break_long_words=False,
    )
    render.say("\n".join(filled))
