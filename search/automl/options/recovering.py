"""What a recovery is asked for with: "20", "kd+hints:20", "auto:30min", or a recipe's file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from automl.errors import UsageError, nearest
from automl.methods import registry

#: Where no terms are named.
DEFAULT_TERMS: Final = ("kd",)
#: The word for rungs in a given time.
AUTO: Final = "auto"
_FORM: Final = (
    "EPOCHS, TERMS:EPOCHS such as kd+hints:20, auto:TIME such as auto:30min, or FILE.toml"
)


@dataclass(frozen=True, slots=True)
class AskedRecovery:
    """What is asked for.

    Attributes:
        terms: Names of losses; () where the recipe's file or "auto" says them.
        epochs: Passes over the training data; 0 where the file or the time says how many.
        seconds: Of "auto"; 0 otherwise.
        file: Of the recipe; None where there is none.
    """

    terms: tuple[str, ...] = ()
    epochs: int = 0
    seconds: float = 0.0
    file: Path | None = None


def parse_recovery(text: str, duration: Callable[[str], float]) -> AskedRecovery:
    """Read what a recovery is asked for with; a recipe's file is not opened.

    Args:
        text: As it is written.
        duration: Gives seconds of a time, and raises UsageError where it is none.

    Raises:
        UsageError: It is nothing of that; names the nearest term.
    """
    text = text.strip()
    if text.endswith(".toml"):
        return AskedRecovery(file=Path(text))
    if re.fullmatch(r"[0-9]+", text):
        return AskedRecovery(DEFAULT_TERMS if int(text) else (), _epochs(text))
    names, colon, end = text.partition(":")
    if names == AUTO:
        if not colon:
            raise UsageError("auto has to be told its time: write auto:30min")
        return AskedRecovery(seconds=duration(end))
    terms, known = names.split("+"), registry("terms").names()
    for name in terms:
        if name not in known:
            hint = nearest(name, (*known, AUTO))
            raise UsageError(f"no term {name!r}{hint}; expected {_FORM}")
    if len(set(terms)) < len(terms):
        raise UsageError(f"{names!r} names a term twice")
    if not re.fullmatch(r"[0-9]+", end) or not int(end):
        raise UsageError(f"expected {_FORM}; write {names}:20, found {text!r:.60}")
    return AskedRecovery(tuple(terms), _epochs(end))


@dataclass(frozen=True, slots=True)
class AskedSteps:
    """A recovery of a candidate.

    Attributes:
        terms: Names of losses.
        steps: Batches that it is trained on.
    """

    terms: tuple[str, ...]
    steps: int


def parse_steps(text: str) -> AskedSteps:
    """Read what a candidate's recovery is asked for with.

    Raises:
        UsageError: It is none; names the nearest term, or says how steps are written.
    """
    names, _, end = text.strip().rpartition(":")
    found = re.fullmatch(r"([0-9]{1,6}) ?steps?", end.strip())
    if found is None or not int(found[1]):
        terms = names if names and names != AUTO else DEFAULT_TERMS[0]
        raise UsageError(
            f"a candidate is trained for some steps: write {terms}:20steps, found {text!r:.60}"
        )
    asked = parse_recovery(f"{names or DEFAULT_TERMS[0]}:{found[1]}", float)
    return AskedSteps(asked.terms, asked.epochs)


@dataclass(frozen=True, slots=True)
class AskedSupernet:
    """How long a supernet is trained: steps, or seconds where these are 0."""

    steps: int = 0
    seconds: float = 0.0


def parse_supernet(text: str, duration: Callable[[str], float]) -> AskedSupernet:
    """Read how long a supernet is trained.

    Args:
        text: As it is written.
        duration: Gives seconds of a time, and raises UsageError where it is none.

    Raises:
        UsageError: It is neither steps nor a time.
    """
    found = re.fullmatch(r"([0-9]{1,6}) ?steps?", text.strip())
    if found is not None and int(found[1]):
        return AskedSupernet(steps=int(found[1]))
    if re.fullmatch(r"[0-9.]*", text.strip()) or "step" in text:
        raise UsageError(f"expected a time or steps: write 30min or 500steps, found {text!r:.60}")
    return AskedSupernet(seconds=duration(text))


def _epochs(text: str) -> int:
    if len(text) > 6:
        raise UsageError(f"{text[:20]} epochs are more than anybody waits for")
    return int(text)
