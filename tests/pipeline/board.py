"""A made-up board that can be measured, whose table has no rows yet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import seconds

from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.table import LatencyTable
from automl.pipeline import runners
from automl.profiling import measuring
from automl.profiling.device import Conditions
from automl.profiling.runner import Limits, Measurement, Probe, RuntimeInfo

#: A fit of rpi4-1t, kept: searches of the board are the same whatever the shipped table becomes.
COEFFICIENTS = Path(__file__).parent / "board_coefficients.json"
HEADER = TableHeader(
    name="my-board",
    device="my-board",
    runtime="onnxruntime",
    threads=1,
    coefficients=json.loads(COEFFICIENTS.read_text(encoding="utf-8")),
)
STATE = Conditions("Chip", 4, "performance", 1.8e9, 45.0, "15W", 1.8e9)


@dataclass
class Board:
    """Answers with the formula of `tiny.seconds`: a probe's weight says which operator it is."""

    keys: list[OpKey]
    refuses: str = ""
    info: RuntimeInfo = RuntimeInfo("onnxruntime", "1.31", 1, "aarch64", STATE)  # noqa: RUF009
    stolen: float = 0.0
    state: Conditions | None = None
    opened: int = 0

    def __enter__(self) -> Board:
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        return

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        for index, probe in enumerate(probes):
            key = self.keys[int(probe.weights[0])]
            error = "not supported" if key.op == self.refuses else ""
            yield Measurement(index, seconds(key), 0.01, 9, error)


def board_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """The target my-board: a user's table without rows, fitted, and the board that it is of."""
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    (tmp_path / "tables").mkdir()
    LatencyTable.create(tmp_path / "tables" / "my-board.jsonl", HEADER)
    found = Board([])

    def probe(key: OpKey, runtime: str = "", scheme: str | None = None) -> Probe:
        found.keys.append(key)
        return Probe((b"",), (float(len(found.keys) - 1),))

    monkeypatch.setattr(measuring, "probe", probe)
    monkeypatch.setattr(runners, "LocalRunner", lambda *_, **__: found)
    return found
