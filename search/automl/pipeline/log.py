"""A run's folder and its log."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

from automl.errors import StudyError
from automl.pipeline.requests import Event, OnEvent, SearchRequest
from automl.study import Trial


def start(request: SearchRequest, on_event: OnEvent) -> Log:
    """The run's folder, and its log.

    Raises:
        StudyError: The folder holds a study, and it is not to be resumed.
    """
    study = request.out / "study.db"
    if study.exists() and not request.resume:
        raise StudyError(
            f"{study} holds a study already: resuming goes on with it, another folder starts anew",
            options=("resume", "out"),
        )
    request.out.mkdir(parents=True, exist_ok=True)
    return Log(request.out / "log.jsonl", on_event)


class Log:
    """Progress to the listener, and finished stages and trials to a file of JSON lines."""

    def __init__(self, path: Path, on_event: OnEvent) -> None:
        self._path = path
        self._on_event: OnEvent = on_event
        self._start = time.monotonic()
        self._stage = ""
        self._best: float | None = None
        self._trials = 0

    def __call__(self, event: Event) -> None:
        if event.stage != self._stage:
            self._write({"stage": event.stage})
            self._stage = event.stage
        self._on_event(replace(event, best=self._best))

    def trial(self, trial: Trial, best: Trial | None) -> None:
        self._trials += 1
        self._best = best.score if best is not None else None
        line = {"trial": trial.number, "state": trial.state, "score": trial.score}
        self._write({**line, "seconds": round(trial.seconds, 3), "reason": trial.reason})
        self(Event("searching", self._trials))

    def _write(self, line: dict[str, object]) -> None:
        stamped = {"at_seconds": round(time.monotonic() - self._start, 2), **line}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(stamped) + "\n")
