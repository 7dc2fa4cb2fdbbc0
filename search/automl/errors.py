"""What can go wrong, in one family: catch `AutomlError` and you have caught everything we raise."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

T = TypeVar("T")


class AutomlError(Exception):
    """Root of all errors raised on purpose. `exit_status` is what the command ends with."""

    exit_status: ClassVar[int] = 2


class UsageError(AutomlError, ValueError):
    """A flag, a budget or a setting that cannot be understood."""


class ModelError(AutomlError, ValueError):
    """The user's model, its factory or its weights cannot be used."""


class DataError(AutomlError, ValueError):
    """The user's data or score function cannot be used."""


class SpaceError(AutomlError, ValueError):
    """A choice that the search space does not hold, or a space that an agent cannot search."""


class PolicyError(AutomlError, ValueError):
    """A policy file that cannot be read, or a policy for another model."""


class QuantizationError(AutomlError, ValueError):
    """Weights or activations that have no range to quantise, or a packed file that is no good."""


class TableError(AutomlError, ValueError):
    """A latency table that cannot be read or believed."""


class TargetError(AutomlError, LookupError):
    """No such target."""

    def __str__(self) -> str:  # LookupError's family would show the repr of the message
        return str(self.args[0]) if self.args else ""


class StudyError(AutomlError, RuntimeError):
    """A study that cannot go on: its storage does not match, or every trial fails."""


class MeasureError(AutomlError, RuntimeError):
    """A device or runtime that does not measure."""


class InfeasibleError(AutomlError, ValueError):
    """A budget that cannot be met. The message names the smallest cost that can be reached."""

    exit_status: ClassVar[int] = 3


def nearest(found: str, valid: Iterable[str], count: int = 3) -> str:
    """The end of an error message: ' (did you mean ...?)', or all there is if nothing is near."""
    names = sorted(set(valid))
    close = difflib.get_close_matches(found, names, n=count, cutoff=0.5)
    if close:
        return f" (did you mean {' or '.join(close)}?)"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f" (there is: {shown})"


@dataclass(frozen=True, slots=True)
class Raised:
    """What foreign code raised in place of an answer."""

    error: Exception

    def __str__(self) -> str:
        """Kind and message on one line, with the file and line that raised it."""
        lines = str(self.error).strip().splitlines()
        message = f"{type(self.error).__name__}: {lines[0]}" if lines else type(self.error).__name__
        frames = traceback.extract_tb(self.error.__traceback__)[1:]
        return f"{message} ({frames[-1].filename}:{frames[-1].lineno})" if frames else message


def attempt(call: Callable[[], T]) -> T | Raised:
    """The answer of code that is not ours and may raise anything, or what it raised.

    This is the only broad except of the package. Our own errors pass through it unchanged only
    when the caller raises `Raised.error` again.
    """
    try:
        return call()
    except Exception as error:
        return Raised(error)
