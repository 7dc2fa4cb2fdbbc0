"""Boards of one kind with times that we choose; each is lost or away when we want it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from automl.errors import MeasureError
from automl.profiling.device import Conditions
from automl.profiling.runner import Limits, Measurement, Probe, RuntimeInfo

STATE = Conditions("Chip", 4, "performance", 2e9, 50.0, "15W", 2e9)
INFO = RuntimeInfo("onnxruntime", "1.0", 1, "aarch64", STATE)


@dataclass
class RecordedBoard:
    """Answers with its factor times the size of a probe's first model, until it fails."""

    board: str
    factor: float = 1.0
    fails_after: int = 10**9
    away_after: int = 10**9
    info: RuntimeInfo = INFO
    state: Conditions | None = STATE
    stolen: float = 0.0
    spread: float = 0.01
    asked: int = 0
    away: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    back: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        self.ended.set()

    def stop(self) -> None:
        self.ended.set()
        self.back.set()

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        for index, probe in enumerate(probes):
            self.asked += 1
            if self.asked > self.fails_after:
                raise MeasureError(f"{self.board}: the connection ended")
            if self.asked > self.away_after:
                self.away = True
                self.back.wait()
                self.away = False
            seconds = self.factor * 1e-9 * len(probe.models[0])
            yield Measurement(index, seconds, self.spread, 9)
