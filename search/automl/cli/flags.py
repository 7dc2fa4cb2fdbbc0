"""Flags made from options, and the two that are no options of a search."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from automl.options import Option, Options, options_of

PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy JSON.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

F = TypeVar("F", bound=Callable[..., Any])


def flags_of(*owners: type[Options], only: Iterable[str] = ()) -> tuple[Option, ...]:
    """Options of several classes, what has to be given first; of some names alone, in that order.

    Raises:
        KeyError: There is no option of that name.
    """
    known = {each.name: each for owner in owners for each in options_of(owner)}
    if only:
        return tuple(known[name] for name in only)
    return tuple(sorted(known.values(), key=lambda each: each.default is not MISSING))


def takes_flags(*options: Option) -> Callable[[F], F]:
    """Give a command a flag an option; their values come in by name, None where not given.

    The command's parameter `**flags` stands for them.
    """
    made = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=flag)
        for each in options
        for flag in [_flag(each)]
    ]

    def give(command: F) -> F:
        own = inspect.signature(command, eval_str=True).parameters.values()
        first = [each for each in own if each.kind is each.POSITIONAL_OR_KEYWORD]
        last = [each for each in own if each.kind is each.KEYWORD_ONLY]
        parameters = [*first, *made, *last]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return command

    return give


def _flag(option: Option) -> object:
    kind = option.kind
    if kind.switch:
        negative = f"--no-{option.flag.removeprefix('--')}"
        return Annotated[
            bool | None, typer.Option(f"{option.flag}/{negative}", help=option.described())
        ]
    declared = typer.Option(option.flag, metavar=kind.metavar, help=option.described())
    return Annotated[list[str] | None if kind.many else str | None, declared]
