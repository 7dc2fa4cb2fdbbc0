"""Boards that share the work: what is one board's matter is not another's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from automl.errors import MeasureError
from automl.profiling.device import Conditions
from automl.profiling.pool import PooledRunner
from automl.profiling.runner import Limits, Measurement, Probe, RuntimeInfo

STATE = Conditions("Chip", 4, "performance", 2e9, 50.0, "15W", 2e9)
INFO = RuntimeInfo("onnxruntime", "1.0", 1, "aarch64", STATE)
PROBES = [Probe((bytes(size),), (1.0,)) for size in range(1, 21)]


@dataclass
class Board:
    """Answers with its own number of seconds, until it fails."""

    seconds: float
    fails_after: int = 10**9
    info: RuntimeInfo = INFO
    stolen: float = 0.0
    state: Conditions | None = STATE
    asked: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()

    def __str__(self) -> str:
        return f"board {self.seconds:g}"

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        for index in range(len(probes)):
            self.asked += 1
            if self.asked > self.fails_after:
                raise MeasureError(f"{self} is gone")
            yield Measurement(index, self.seconds, 0.01, 9)


def test_all_is_answered_once() -> None:
    boards = [Board(1.0), Board(2.0)]
    with PooledRunner(boards) as pool:  # type: ignore[arg-type]
        found = [measured.probe for measured in pool.run(PROBES, Limits())]
    assert sorted(found) == list(range(20))
    assert sum(board.asked for board in boards) == 20
    assert all(board.ended.is_set() for board in boards)


@pytest.mark.parametrize("fails_after", [0, 1, 5])
def test_a_board_that_fails_leaves_its_share(fails_after: int) -> None:
    boards = [Board(1.0, fails_after), Board(2.0)]
    with PooledRunner(boards) as pool:  # type: ignore[arg-type]
        for _ in range(2):
            found = [measured.probe for measured in pool.run(PROBES, Limits())]
            assert sorted(found) == list(range(20))


def test_when_no_board_is_left() -> None:
    with PooledRunner([Board(1.0, 3), Board(2.0, 4)]) as pool:  # type: ignore[list-item]
        found = []
        with pytest.raises(MeasureError, match="is gone"):
            found.extend(pool.run(PROBES, Limits()))


def test_a_single_probe_is_for_every_board() -> None:
    with PooledRunner([Board(1.0), Board(3.0), Board(2.0)]) as pool:  # type: ignore[list-item]
        assert [measured.seconds for measured in pool.run(PROBES[:1], Limits())] == [3.0]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(INFO, version="2.0"), r"runtime version \(1\.0 and 2\.0\)"),
        (replace(INFO, conditions=replace(STATE, processor="Other")), "device"),
        (replace(INFO, conditions=replace(STATE, power_mode="MAXN")), "power mode"),
        (replace(INFO, conditions=replace(STATE, governor="ondemand")), "clock setting"),
    ],
)
def test_boards_that_differ_do_not_mix(other: RuntimeInfo, said: str) -> None:
    boards = [Board(1.0), Board(1.0, info=other)]
    with pytest.raises(MeasureError, match=said):
        PooledRunner(boards)  # type: ignore[arg-type]
    assert all(board.ended.is_set() for board in boards)


def test_the_worst_board_speaks_for_all() -> None:
    hot = replace(STATE, temperature=85.0)
    boards = [Board(1.0, state=hot, stolen=0.1), Board(1.0, info=replace(INFO, load=1.5))]
    with PooledRunner(boards) as pool:  # type: ignore[arg-type]
        assert pool.state == hot
        assert pool.stolen == 0.1
        assert pool.info.load == 1.5
