"""How the command speaks, whichever it is: with progress and hints or without, in words or JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from automl.errors import OptionError, nearest

#: What stderr is written in.
FORMATS: Final = ("text", "json")
_QUIET: Final = ("-q", "--quiet")
_VERBOSE: Final = ("-v", "--verbose")
_FORMAT: Final = "--log-format"


@dataclass(frozen=True, slots=True)
class Manner:
    """How the command speaks.

    Attributes:
        quiet: Whether only results and errors are told: no progress, no stages, no next command.
        as_json: Whether each line on stderr is a JSON object.
        verbose: Whether each stage and each trial has a line, and what the package logs is shown.
    """

    quiet: bool = False
    as_json: bool = False
    verbose: bool = False


class _Chosen:
    """How the command that runs speaks."""

    manner = Manner()


def manner() -> Manner:
    """How the command that runs speaks."""
    return _Chosen.manner


@contextlib.contextmanager
def speaking(chosen: Manner) -> Iterator[None]:
    """Speak so until the block ends."""
    before, _Chosen.manner = _Chosen.manner, chosen
    try:
        yield
    finally:
        _Chosen.manner = before


def split_manner(words: Sequence[str]) -> tuple[list[str], Manner]:
    """The words of a line without those on how to speak, wherever they stand; and how to.

    Raises:
        OptionError: A format that there is not; names the nearest. Less and more at once.
    """
    rest, chosen = list[str](), Manner()
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if word in _QUIET:
            chosen = replace(chosen, quiet=True)
        elif word in _VERBOSE:
            chosen = replace(chosen, verbose=True)
        elif name == _FORMAT:
            chosen = replace(chosen, as_json=_format(value if equals else next(left, "")) == "json")
        else:
            rest.append(word)
    if chosen.quiet and chosen.verbose:
        raise OptionError("verbose", "it asks for more, and quiet for less", options=("quiet",))
    return rest, chosen


def _format(value: str) -> str:
    if value not in FORMATS:
        valid = " or ".join(FORMATS)
        raise OptionError("log_format", f"{valid} is expected{nearest(value, FORMATS)}")
    return value
