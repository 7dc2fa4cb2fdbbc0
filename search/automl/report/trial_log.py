"""The trials and stages of a run as its log has them, as far as it can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Final

from automl.documents import open_file

#: Bytes of a line that is read.
_LONGEST: Final = 1 << 16
#: What a trial's line may say in numbers.
NUMBERS: Final = ("score", "latency", "macs", "bytes", "seconds", "images")


@dataclass(slots=True)
class LoggedTrial:
    """One finished trial.

    Attributes:
        number: In its study.
        study: Which study of the run it was in, from 0: a search whose prices or limit were
            corrected by what was measured begins another.
        at: Seconds since the run began, without pauses between its sessions.
        state: COMPLETE, INFEASIBLE or FAILED.
        numbers: By name, as `NUMBERS`; what is not known is missing.
        reason: Why it failed.
        chosen: Per variable, the index of the option; () where the log does not say.
    """

    number: int
    study: int
    at: float
    state: str
    numbers: Mapping[str, float]
    reason: str
    chosen: tuple[int, ...]


@dataclass(slots=True)
class RunLog:
    """A run's log.

    Attributes:
        trials: In the order in which they finished.
        stages: Seconds of each stage, in the order in which they began.
        last: The stage that the log ends in.
        damaged: Lines that could not be read.
        sessions: How often the run was begun or gone on with.
    """

    trials: list[LoggedTrial] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    last: str = ""
    damaged: int = 0
    sessions: int = 0


def read_log(path: Path) -> RunLog:
    """What a log says; lines that cannot be read are counted.

    Raises:
        OSError: It cannot be opened.
    """
    reader = _Reader()
    with open_file(path) as file:
        for line in _lines(file):
            reader.read(line)
    return reader.log


def _lines(file: Any) -> Iterator[bytes]:
    """Lines, of those that are too long the start alone."""
    whole = True
    while text := file.readline(_LONGEST):
        if whole and text.strip():
            yield text
        whole = text.endswith(b"\n")


class _Reader:
    def __init__(self) -> None:
        self.log = RunLog()
        self._began, self._last, self._study = 0.0, 0.0, 0
        self._stage: tuple[str, float] | None = None
        self._numbers: set[int] = set()

    def read(self, text: bytes) -> None:
        """Take in one line."""
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            self.log.damaged += 1
            return
        at = _number(line.get("at_seconds")) if isinstance(line, dict) else None
        if at is None:
            self.log.damaged += 1
            return
        now = self._time(at)
        if isinstance(line.get("stage"), str):
            self._begin_stage(line["stage"][:80], now)
        elif type(line.get("trial")) is int:
            self._add_trial(line, now)

    def _time(self, at: float) -> float:
        """Seconds since the run began; a session that goes on counts from 0 again."""
        if not self.log.sessions or self._began + at < self._last - 1.0:
            self.log.sessions += 1
            self._began = self._last
            self._stage = None
        self._last = max(self._last, self._began + at)
        return self._began + at

    def _begin_stage(self, name: str, now: float) -> None:
        if self._stage is not None:
            before, began = self._stage
            self.log.stages[before] = self.log.stages.get(before, 0.0) + max(0.0, now - began)
        self._stage, self.log.last = (name, now), name
        self.log.stages.setdefault(name, 0.0)

    def _add_trial(self, line: Mapping[str, Any], now: float) -> None:
        number = line["trial"]
        if number in self._numbers:
            self._study, self._numbers = self._study + 1, set()
        self._numbers.add(number)
        found = {name: _number(line.get(name)) for name in NUMBERS}
        self.log.trials.append(
            LoggedTrial(
                number,
                self._study,
                now,
                str(line.get("state"))[:12],
                {name: value for name, value in found.items() if value is not None},
                str(line.get("reason") or "")[:300],
                _indices(line.get("chosen")),
            )
        )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if isfinite(found) else None


def _indices(value: object) -> tuple[int, ...]:
    if isinstance(value, list) and all(type(each) is int and 0 <= each < 1024 for each in value):
        return tuple(value)
    return ()
