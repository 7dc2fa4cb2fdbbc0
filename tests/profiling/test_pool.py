"""Boards that share the work: what is one board's matter is not another's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from recorded_boards import INFO, STATE, RecordedBoard

from automl.errors import MeasureError
from automl.profiling import pool as pools
from automl.profiling.pool import PooledRunner
from automl.profiling.runner import Limits, Probe, RuntimeInfo

PROBES = [Probe((bytes(size),), (1.0,)) for size in range(1, 21)]


def test_all_is_answered_once_and_says_by_whom() -> None:
    boards = [RecordedBoard("a"), RecordedBoard("b", 2.0)]
    with PooledRunner(boards) as pool:
        found = list(pool.run(PROBES, Limits()))
    assert sorted(measured.probe for measured in found) == list(range(20))
    assert sum(board.asked for board in boards) == 20
    assert all(board.ended.is_set() for board in boards)
    factors = {"a": 1.0, "b": 2.0}
    for measured in found:
        assert measured.seconds == factors[measured.board] * 1e-9 * (measured.probe + 1)


@pytest.mark.parametrize("fails_after", [0, 1, 5])
def test_a_board_that_fails_leaves_its_share(fails_after: int) -> None:
    boards = [RecordedBoard("a", fails_after=fails_after), RecordedBoard("b")]
    with PooledRunner(boards) as pool:
        for _ in range(3):
            found = [measured.probe for measured in pool.run(PROBES, Limits())]
            assert sorted(found) == list(range(20))
        assert pool.lost == {"a": "a: the connection ended"}
        assert list(pool.boards) == ["b"]
        assert boards[0].ended.is_set()


@pytest.mark.parametrize("each", [False, True])
def test_when_no_board_is_left_each_reason_is_told_once(each: bool) -> None:
    with PooledRunner(
        [RecordedBoard("a", fails_after=3), RecordedBoard("b", fails_after=4)]
    ) as pool:
        measure = pool.run_on_each if each else pool.run
        with pytest.raises(MeasureError, match=r"no board is left.*a: the conn.*b: the conn"):
            list(measure(PROBES, Limits()))
        with pytest.raises(MeasureError, match="no board is left"):
            list(measure(PROBES, Limits()))
        assert pool.info.runtime == "onnxruntime"


def test_every_board_measures_each_and_a_lost_one_is_not_waited_for() -> None:
    boards = [RecordedBoard("a"), RecordedBoard("b", fails_after=25), RecordedBoard("c")]
    with PooledRunner(boards) as pool:
        found = list(pool.run_on_each(PROBES, Limits()))
        assert Counter(one.board for one in found) == {"a": 20, "b": 20, "c": 20}
        found = list(pool.run_on_each(PROBES, Limits()))
        counts = Counter(one.board for one in found)
        assert (counts["a"], counts["c"]) == (20, 20)
        assert counts["b"] == 5
        assert list(pool.lost) == ["b"]


def test_a_board_that_is_away_leaves_its_share_and_may_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "GRACE", 0.0)
    away = RecordedBoard("a", away_after=2)
    with PooledRunner([away, RecordedBoard("b")]) as pool:
        found = list(pool.run(PROBES, Limits()))
        assert sorted(measured.probe for measured in found) == list(range(20))
        assert [one.board for one in pool.run_on_each(PROBES[:1], Limits())] == ["b"]
        away.away_after = 10**9
        away.back.set()
        found = [one for _ in range(50) for one in pool.run(PROBES, Limits())]
        assert Counter(one.probe for one in found) == dict.fromkeys(range(20), 50)
        assert pool.lost == {}


def test_one_that_is_away_at_the_end_is_ended() -> None:
    away = RecordedBoard("a", away_after=0)
    with PooledRunner([away, RecordedBoard("b")]) as pool:
        next(iter(pool.run(PROBES, Limits())))
    assert away.ended.is_set()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(INFO, version="2.0"), r"runtime version \(1\.0 and 2\.0\)"),
        (replace(INFO, conditions=replace(STATE, processor="Other")), r"device \(Chip and Other"),
        (replace(INFO, conditions=replace(STATE, cores=8)), r"number of cores \(4 and 8"),
        (replace(INFO, conditions=replace(STATE, power_mode="MAXN")), "power mode"),
        (replace(INFO, conditions=replace(STATE, governor="ondemand")), "clock setting"),
    ],
)
def test_boards_that_differ_do_not_mix(other: RuntimeInfo, said: str) -> None:
    boards = [RecordedBoard("a"), RecordedBoard("b"), RecordedBoard("c", info=other)]
    with pytest.raises(MeasureError, match=rf"cannot share a table: from a differ c in {said}"):
        PooledRunner(boards)
    assert all(board.ended.is_set() for board in boards)


def test_the_worst_board_speaks_for_all() -> None:
    hot = replace(STATE, temperature=85.0)
    boards = [
        RecordedBoard("a", state=hot, stolen=0.1),
        RecordedBoard("b", info=replace(INFO, load=1.5)),
    ]
    with PooledRunner(boards) as pool:
        assert pool.state == hot
        assert pool.stolen == 0.1
        assert pool.info.load == 1.5
