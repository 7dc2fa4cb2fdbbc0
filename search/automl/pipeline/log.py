"""The log of a run."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import BinaryIO, Final

from automl.documents import open_file, parse_json
from automl.errors import StudyError
from automl.files import naming
from automl.heap import give_back, peak_bytes
from automl.pipeline.points import Course, TrialPoint
from automl.pipeline.requests import Event, OnEvent, StageCost
from automl.study import Completed, Failed, Trial

_LONGEST: Final = 1 << 16  # bytes of a line that is read
#: What a trial's line says of its predicted cost; the latency in seconds, or in cycles.
_COSTS: Final = ("latency", "macs", "bytes")


class Log:
    """Progress to the listener, and finished stages and trials to a file of JSON lines.

    Where a stage ends, what it freed goes back to the system.

    Trials that a resumed study replays have their lines in the file already.
    """

    def __init__(self, path: Path, on_event: OnEvent, *, resume: bool = False) -> None:
        self._path = path
        self._written = Counter(_numbers(path)) if resume else Counter[int]()
        self._begun = 0  # studies
        self._on_event: OnEvent = on_event
        self._start = time.monotonic()
        self._stage, self._began = "", self._start
        self._stages: dict[str, StageCost] = {}
        self._best: float | None = None
        self._trials = 0
        self._course = Course()
        self._until: int | None = None
        self._pace = _Pace()

    def __call__(self, event: Event) -> None:
        if event.stage != self._stage:
            self._end_stage()
            give_back()  # what a stage freed seldom fits the next
            self._write({"stage": event.stage, "peak_bytes": peak_bytes()})
            self._stage, self._began = event.stage, time.monotonic()
        self._on_event(replace(event, best=self._best))

    @property
    def stages(self) -> tuple[StageCost, ...]:
        """What the stages took that have ended; one that came again, all its times together."""
        return tuple(self._stages.values())

    def asking(self, now: bool) -> None:
        """Tell that an agent is asked for policies, or that what it proposed is scored now."""
        self(Event("solving") if now else Event("searching", self._trials))

    def _end_stage(self) -> None:
        if not self._stage:
            return
        before = self._stages.get(self._stage)
        seconds = time.monotonic() - self._began + (before.seconds if before else 0.0)
        self._stages[self._stage] = StageCost(self._stage, seconds, peak_bytes())

    def expect(self, course: Course) -> None:
        """Tell of the study that begins, whose trials come next."""
        self._begun += 1
        self._course, self._pace = course, _Pace(course.seconds)
        self._until = None if course.trials is None else self._trials + course.trials

    def knows(self, trial: Trial) -> bool:
        """Whether the trial was told of before the run was resumed.

        A number that the file has twice was in the first study and in the second, and so on.
        """
        return self._written[trial.number] > max(0, self._begun - 1)

    def trial(
        self, trial: Trial, best: Completed | None, chosen: Sequence[int] | None = None
    ) -> None:
        """Tell of a finished trial and the best so far.

        Args:
            trial: What was finished.
            best: The best of the study.
            chosen: Per variable of the study's space, the index of the trial's option.
        """
        self._trials += 1
        self._best = best.score if best is not None else None
        if not self.knows(trial):
            score = trial.score if isinstance(trial, Completed) else None
            reason = trial.reason if isinstance(trial, Failed) else ""
            line: dict[str, object] = {"trial": trial.number, "state": trial.state, "score": score}
            cost = {name: _figures(getattr(trial.cost, name)) for name in _COSTS}
            images = trial.images if isinstance(trial, Completed) else None
            line |= {"seconds": round(trial.seconds, 3), "reason": reason, "images": images}
            self._write({**line, **cost, "chosen": chosen})
        point = self._point(trial)
        self._pace.count(point)
        until = None if self._until is None else max(self._until, self._trials)
        missing = None if until is None else until - self._trials
        left = self._pace.left(missing)
        self(Event("searching", self._trials, until, left_seconds=left, trial=point))

    def _point(self, trial: Trial) -> TrialPoint:
        return TrialPoint(
            number=trial.number,
            state=trial.state,
            score=trial.score if isinstance(trial, Completed) else None,
            latency=_figures(trial.cost.latency),
            macs=trial.cost.macs,
            bytes=trial.cost.bytes,
            seconds=trial.seconds,
            reason=trial.reason if isinstance(trial, Failed) else "",
            course=self._course,
            stored=self.knows(trial),
        )

    def _write(self, line: dict[str, object]) -> None:
        stamped = {"at_seconds": round(time.monotonic() - self._start, 2), **line}
        with naming(self._path), self._path.open("a+b") as file:
            if file.tell() and not _ends_whole(file):
                file.write(b"\n")  # after a line that a kill cut off
            file.write(json.dumps(stamped).encode() + b"\n")


class _Pace:
    """How fast trials come, and how long the study still takes at the most.

    Args:
        seconds: That it may take; None for no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._start, self._seconds, self._done = time.monotonic(), seconds, 0

    def count(self, point: TrialPoint) -> None:
        """Take in a trial; those from before the run was resumed cost no time."""
        if point.stored:
            self._start = time.monotonic()
        else:
            self._done += 1

    def left(self, trials: int | None) -> float | None:
        """Seconds until so many more are done or the time is over; None where nothing says it."""
        gone = time.monotonic() - self._start
        limits = [] if self._seconds is None else [max(0.0, self._seconds - gone)]
        if trials is not None and self._done:
            limits.append(gone / self._done * trials)
        return min(limits, default=None)


def _figures(value: float) -> float | None:
    """A number to six figures; None where it is not known."""
    return float(f"{value:.6g}") if isfinite(value) else None


def _ends_whole(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _numbers(path: Path) -> Iterator[int]:
    """Numbers of the trials that a log has lines of; a line that was cut off is none.

    Raises:
        StudyError: It cannot be read.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}", options=("out",)) from None
    with file:
        while text := file.readline(_LONGEST):
            if b'"trial"' not in text:
                continue
            try:
                line = parse_json(text.decode(errors="replace"), str(path), StudyError)
            except StudyError:
                continue
            if isinstance(line, dict) and type(line.get("trial")) is int:
                yield line["trial"]
