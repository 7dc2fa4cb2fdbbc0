"""Boards beside each other: who measures what, and whether they agree."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recorded_boards import INFO, STATE, RecordedBoard
from recorded_runner import RecordedRunner

from automl.latency.keys import OpKey
from automl.profiling.boards import EVERY, FEWEST, Boards
from automl.profiling.pool import PooledRunner
from automl.profiling.runner import Limits, Probe

KEYED = [(OpKey("linear", 8, width), Probe((bytes(width),), (1.0,))) for width in range(8, 72)]


def pooled(*factors: float, spread: float = 0.01) -> PooledRunner:
    names = "abcdef"
    return PooledRunner(
        [RecordedBoard(names[i], factor, spread=spread) for i, factor in enumerate(factors)]
    )


def test_one_device_shares_nothing_and_is_compared_with_none() -> None:
    boards = Boards(RecordedRunner())
    assert boards.split(KEYED, len(KEYED)) == ([], KEYED)
    assert not boards.several
    assert list(boards.left) == [""]
    assert boards.comparisons() == ()
    (times,) = boards.on_each(KEYED[:1], Limits()).values()
    assert list(times) == [""]


@pytest.mark.parametrize(("count", "shared"), [(64, 64 // EVERY), (9, FEWEST), (2, 2), (1, 1)])
def test_one_in_sixteen_is_for_every_board(count: int, shared: int) -> None:
    with pooled(1.0, 1.0) as pool:
        each, alone = Boards(pool).split(KEYED[:count], count)
    assert len(each) == shared
    assert sorted((*each, *alone)) == KEYED[:count]


def test_the_rows_of_shared_operators_are_of_each_board_in_turn() -> None:
    with pooled(1.0, 2.0) as pool:
        found = list(Boards(pool).measure_by_all(KEYED[:6], Limits()))
    assert [key for key, _ in found] == [key for key, _ in KEYED[:6]]
    assert sorted(one.board for _, one in found) == ["a", "a", "a", "b", "b", "b"]


@pytest.mark.parametrize(
    ("factor", "clear"), [(1.0, False), (1.015, False), (1.2, True), (0.8, True)]
)
def test_boards_disagree_beyond_their_spread(factor: float, clear: bool) -> None:
    with pooled(1.0, 1.0, factor) as pool:
        boards = Boards(pool)
        boards.on_each(KEYED[:9], Limits())
        same, other = boards.comparisons()
    assert (same.board, same.beside, same.ratio, same.clear) == ("b", "a", 1.0, False)
    assert (other.board, other.beside, other.operators) == ("c", "a", 9)
    assert other.ratio == pytest.approx(factor, abs=1e-4)
    assert other.clear is clear


def test_what_is_measured_badly_says_little() -> None:
    with pooled(1.0, 1.2, spread=0.3) as pool:
        boards = Boards(pool)
        boards.on_each(KEYED[:9], Limits())
        (found,) = boards.comparisons()
    assert not found.clear


def test_ratios_that_scatter_are_a_spread_of_their_own() -> None:
    """Eight operators from half as long to twice as long, each measured to a per mille."""
    slow = RecordedBoard("b", spread=0.001)
    with PooledRunner([RecordedBoard("a", spread=0.001), slow]) as pool:
        boards = Boards(pool)
        for number, keyed in enumerate(KEYED[:8]):
            slow.factor = 2.0 ** ((number - 3) / 4)
            boards.on_each([keyed], Limits())
        (found,) = boards.comparisons()
    assert found.spread > 0.1
    assert not found.clear


def test_one_machine_under_two_names_is_told() -> None:
    info = replace(INFO, boot="1234")
    with PooledRunner([RecordedBoard("a", info=info), RecordedBoard("b", info=info)]) as pool:
        (said,) = Boards(pool).disturbed()
    assert said == "a and b are one machine: they time each other's work as well"


def test_each_board_is_held_to_itself() -> None:
    """Throttle counters that differ since the boards were started say nothing."""
    often = replace(STATE, throttles=7)
    slow = RecordedBoard("b", info=replace(INFO, conditions=often), state=often)
    with PooledRunner([RecordedBoard("a"), slow]) as pool:
        boards = Boards(pool)
        assert boards.slowed() == []
        slow.state = replace(often, throttles=9)
        (said,) = boards.slowed()
    assert said.startswith("b: the processor slowed itself down 2 times")


def test_a_lost_board_is_told_with_its_reason() -> None:
    with PooledRunner([RecordedBoard("a", fails_after=3), RecordedBoard("b")]) as pool:
        boards = Boards(pool)
        assert len(list(boards.measure(KEYED, Limits()))) == len(KEYED)
        (said,) = boards.lost()
    assert said == (
        "a was lost, what was left of its share was measured by b: a: the connection ended"
    )
