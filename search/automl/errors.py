"""What can go wrong, in one family: catch `AutomlError` and you have caught everything we raise.

A message is complete in itself and names no flag. What mends the error is in `options`, by the
names that Python and automl.toml use; the command adds how it is written there.
"""

from __future__ import annotations

import difflib
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, TypeVar

from automl.interrupts import OverTime, asked_to_end

T = TypeVar("T")

#: What the package index calls us: there `automl`, the import and the command, is another's.
DISTRIBUTION: Final = "automl-latency"
#: Characters of a name that is compared or shown among others, and of a message.
_NAME, _MESSAGE = 120, 1500


def printable(text: str) -> str:
    """A text on one line that no terminal obeys: control characters are shown as escapes.

    Files, boards and models name things as they like: a module may be called "\\x1b[2J".
    """
    if text.isprintable():
        return text
    return "".join(_escaped(each) if _obeyed(each) else each for each in text)


def _obeyed(character: str) -> bool:
    """Whether a terminal acts on a character: controls, text direction, ends of lines."""
    kind = unicodedata.category(character)
    return kind.startswith("C") or kind in ("Zl", "Zp")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class AutomlError(Exception):
    """Root of all errors raised on purpose.

    Attributes:
        exit_status: What the command ends with.
        message: What is wrong, in one line.
        options: Names of the options that mend it.
    """

    exit_status: ClassVar[int] = 2

    def __init__(self, message: str = "", *, options: Iterable[str] = ()) -> None:
        shown = printable(message[: _MESSAGE + 1])
        # longer ones quote a file, or a name that is none
        self.message = shown if len(shown) <= _MESSAGE else f"{shown[:_MESSAGE]} ..."
        super().__init__(self.message)
        self.options = tuple(options)

    def __str__(self) -> str:  # LookupError's family would show the repr of the message
        return self.message


class UsageError(AutomlError, ValueError):
    """An option, a budget or a setting that cannot be understood."""


class UnknownNameError(UsageError):
    """A name that nothing goes by.

    Attributes:
        found: The name.
        valid: All that would do.
    """

    def __init__(self, what: str, found: str, valid: Iterable[str] = ()) -> None:
        self.found, self.valid = found, tuple(valid)
        super().__init__(f"no {what} {found!r}{nearest(found, self.valid)}")
        self.args = (what, found, self.valid)


class OptionError(UsageError):
    """An option that cannot be taken.

    Attributes:
        option: Its name, as the key and the argument are written.
        reason: What is wrong with it.
        place: Where it was given: its flag, or "automl.toml line 3: trials"; "" where that is not
            known, and its name stands for it.
        options: Names of other options that mend it.
    """

    def __init__(
        self, option: str, reason: str, place: str = "", *, options: Iterable[str] = ()
    ) -> None:
        self.option, self.reason, self.place = option, reason, place
        super().__init__(f"{place or option}: {reason}", options=options)
        self.args = (option, reason, place)


class OutputError(AutomlError):
    """A standard output that was closed, or that is full."""


class ModelError(AutomlError, ValueError):
    """The user's model, its factory or its weights cannot be used."""


class IntegersError(ModelError):
    """A network of which no file of integers can be made, where a search may choose them.

    Attributes:
        reason: Why, in one line.
    """

    def __init__(self, message: str, reason: str, options: Iterable[str] = ()) -> None:
        super().__init__(message, options=options)
        self.reason = reason
        self.args = (message, reason, self.options)


class DataError(AutomlError, ValueError):
    """The user's data or score function cannot be used."""


class SpaceError(AutomlError, ValueError):
    """A choice that the search space does not hold, or a space that an agent cannot search.

    Attributes:
        lacks: What an agent needs and the problem lacks, as `automl methods agents` names it.
        agents: Names of the agents that can search the problem.
    """

    def __init__(
        self,
        message: str = "",
        *,
        lacks: Iterable[str] = (),
        agents: Iterable[str] = (),
        options: Iterable[str] = (),
    ) -> None:
        self.lacks, self.agents = tuple(lacks), tuple(agents)
        serving = f"; agents that can search it: {', '.join(self.agents)}" if self.agents else ""
        super().__init__(message + serving, options=options)


class PolicyError(AutomlError, ValueError):
    """A policy file that cannot be read, or a policy for another model."""


class PruningError(AutomlError, ValueError):
    """An importance that does not order the channels that it was given."""


class QuantizationError(AutomlError, ValueError):
    """Weights or activations that have no range to quantise, or a packed file that is no good."""


class BundleError(AutomlError, ValueError):
    """A delivered bundle that is not what its manifest says."""


class TableError(AutomlError, ValueError):
    """A latency table that cannot be read or believed."""


class TargetError(AutomlError, LookupError):
    """No such target, or one that is not to be written to.

    Attributes:
        found: The name that was asked for.
        valid: Names of the targets that there are, where none has that name.
    """

    def __init__(
        self,
        message: str = "",
        *,
        found: str = "",
        valid: Iterable[str] = (),
        options: Iterable[str] = (),
    ) -> None:
        super().__init__(message, options=options)
        self.found, self.valid = found, tuple(valid)


class StudyError(AutomlError, RuntimeError):
    """A study that cannot go on: its storage does not match, or every trial fails."""


class StorageError(StudyError):
    """A study's storage that has answered before does not any more, or has no room."""


class HolderLike(Protocol):
    """Who has a lock: `automl.files.Holder`."""

    @property
    def pid(self) -> int:
        """Number of the process on its host."""
        ...

    @property
    def host(self) -> str:
        """Name of the machine."""
        ...


class LockedError(AutomlError, RuntimeError):
    """A run folder, a table or a study that another process works in.

    Attributes:
        holder: The process, where it has said who it is.
    """

    def __init__(
        self, message: str = "", *, holder: HolderLike | None = None, options: Iterable[str] = ()
    ) -> None:
        super().__init__(message, options=options)
        self.holder = holder


class MeasureError(AutomlError, RuntimeError):
    """A device or runtime that does not measure."""


class ClusterError(AutomlError, RuntimeError):
    """A cluster that cannot be reached, or a machine of it that lacks what the driver has."""


class BudgetLike(Protocol):
    """What was to be met: `automl.cost.Budget`. Its text is what was asked for."""

    def describe_least(self, least: Mapping[str, float], /) -> str:
        """Costs for people, rounded so that they can be met as limits."""
        ...


class InfeasibleError(AutomlError, ValueError):
    """A budget that cannot be met.

    Attributes:
        budget: The budget.
        least: The smallest cost that can be reached of each limited quantity by itself: "latency"
            in seconds or a simulator's cycles, "macs", "bytes", "joules".
    """

    exit_status: ClassVar[int] = 3

    def __init__(
        self,
        budget: BudgetLike,
        least: Mapping[str, float],
        *,
        subject: str = "policy of this space",
        advice: str = "",
        options: Iterable[str] = (),
    ) -> None:
        reached = budget.describe_least(least)
        text = f"no {subject} meets the budget of {budget}: the least is {reached}"
        super().__init__(f"{text}; {advice}" if advice else text, options=options)
        self.budget, self.least = budget, dict(least)
        self.args = (budget, self.least)  # what a pickled error is made from anew


def install_command(extra: str) -> str:
    """The command that installs what an extra of ours brings."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def nearest(found: str, valid: Iterable[str], count: int = 3) -> str:
    """The end of an error message: ' (did you mean ...?)', or all there is if nothing is near."""
    names = sorted(set(valid))
    close = difflib.get_close_matches(found[:_NAME], names, n=count, cutoff=0.5)
    if close:
        return f" (did you mean {' or '.join(close)}?)"
    if not names:
        return ""
    shown = ", ".join(name[:_NAME] for name in names[:12]) + (", ..." if len(names) > 12 else "")
    return f" (there is: {shown})"


@dataclass(frozen=True, slots=True)
class Raised:
    """What foreign code raised in place of an answer."""

    error: BaseException

    def __str__(self) -> str:
        """Kind and message on one line, with the file and line that raised it."""
        kind = type(self.error).__name__
        lines = str(self.error).strip().splitlines()
        message = f"{kind}: {lines[0]}" if lines else kind
        if isinstance(self.error, SystemExit):
            message = f"it called sys.exit({self.error.code!r})"
        elif isinstance(self.error, KeyboardInterrupt):
            message = "it raised KeyboardInterrupt by itself"
        elif isinstance(self.error, OverTime):
            message = str(self.error)
        frames = traceback.extract_tb(self.error.__traceback__)[1:]
        if isinstance(self.error, OverTime):
            frames = frames[:-1]  # the last one is the alarm's
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        return printable(message + place)


def attempt(call: Callable[[], T]) -> T | Raised:
    """The answer of code that is not ours and may raise anything, or what it raised.

    This is the only broad except of the package: it takes what would end the program too, but for
    what a person asked for with Ctrl-C or a signal. Our own errors pass through it unchanged only
    when the caller raises `Raised.error` again.
    """
    try:
        return call()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and asked_to_end():
            raise
        return Raised(error)
