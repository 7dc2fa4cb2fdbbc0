"""What can go wrong, in one family: catch `AutomlError` and you have caught everything we raise."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


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
    """The end of an error message: ' (did you mean ...?)', or what there is when nothing is near."""
    names = sorted(set(valid))
    close = difflib.get_close_matches(found, names, n=count, cutoff=0.5)
    if close:
        return f" (did you mean {' or '.join(close)}?)"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f" (there is: {shown})"
