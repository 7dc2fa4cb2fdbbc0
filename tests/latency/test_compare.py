"""Merging and comparing tables."""

from __future__ import annotations

import math

import pytest

from automl.errors import TableError
from automl.latency.compare import compare_tables, merge, short
from automl.latency.header import BoardComparison, KnownError, TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.latency.targets import find_table

HEADER = TableHeader(
    name="a",
    device="Board",
    runtime="onnxruntime",
    runtime_version="1.31",
    threads=1,
    clocks="governor performance",
    power_mode="15W",
)


def key(width: int, **more: object) -> OpKey:
    return OpKey(
        "conv2d", 8, width, (3, 3), padding=(1, 1), in_size=(8, 8), out_size=(8, 8), **more
    )


def table(times: dict[int, float], spread: float = 0.02, **header: object) -> LatencyTable:
    rows = [Row(key(width), seconds, spread) for width, seconds in times.items()]
    return LatencyTable(HEADER.model_copy(update=header), rows)


def test_rows_of_both_are_kept() -> None:
    error = KnownError(relative=0.1, on="ten networks")
    header, rows = merge(
        table({8: 1e-3, 16: 2e-3}), table({16: 2e-3, 24: 3e-3}, name="b", known_error=error)
    )
    assert [row.key.out_channels for row in rows] == [8, 16, 24]
    assert header.name == "a"
    assert header.aliases == ("b",)
    assert header.known_error == error


def test_comparisons_of_boards_are_kept_and_the_first_one_counts() -> None:
    def beside(board: str, other: str, ratio: float) -> BoardComparison:
        return BoardComparison(board=board, beside=other, ratio=ratio, spread=0.01, operators=9)

    one, again, new = beside("b", "a", 1.1), beside("a", "b", 0.8), beside("c", "a", 1.0)
    first, second = table({8: 1e-3}, boards=(one,)), table({16: 1e-3}, boards=(again, new))
    header, _ = merge(first, second)
    assert header.boards == (one, new)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device": "Other"}, "device 'Board' and 'Other'"),
        ({"runtime": "tensorrt"}, "runtime 'onnxruntime' and 'tensorrt'"),
        ({"runtime_version": "1.30"}, "runtime_version '1.31' and '1.30'"),
        ({"threads": 4}, "threads 1 and 4"),
        ({"unit": "cycles"}, "unit 'seconds' and 'cycles'"),
        ({"power_mode": "MAXN"}, "power_mode '15W' and 'MAXN'"),
        ({"clocks": ""}, "clocks 'governor performance' and not noted"),
    ],
)
def test_other_conditions_do_not_merge(change: dict[str, object], said: str) -> None:
    with pytest.raises(TableError, match=said):
        merge(table({8: 1e-3}), table({16: 1e-3}, **change))


def test_rows_that_disagree_need_a_choice() -> None:
    one, other = table({8: 1e-3, 16: 2e-3}), table({8: 1.5e-3}, name="b")
    with pytest.raises(
        TableError, match=r"8>8 k3 @8x8 fp32: 0\.001 and 0\.0015 seconds.*which to take"
    ):
        merge(one, other)
    for prefer, seconds in (("first", 1e-3), ("second", 1.5e-3)):
        _, rows = merge(one, other, prefer=prefer)
        assert [row.seconds for row in rows] == [seconds, 2e-3]


def test_how_far_tables_disagree() -> None:
    one = table({8: 1e-3, 16: 2e-3, 24: 3e-3, 32: 4e-3})
    other = table({8: 1e-3, 16: 2.02e-3, 24: 6e-3, 40: 5e-3}, device="Other")
    found = compare_tables(one, other)
    assert found.conditions == (("device", "'Board'", "'Other'"),)
    # 32 lies between rows of the other; 40 lies beyond those of the first
    assert (found.shared, found.only_first, found.only_second) == (4, 0, 1)
    assert found.clear == 2
    assert found.least == 1.0
    assert found.most == pytest.approx(2.0)
    assert found.worst[0].key == key(24)
    assert found.worst[0].clear
    assert found.worst[1].sources == ("measured", "interpolated")
    assert not found.worst[2].clear  # one per cent, within the uncertainty
    assert len(found.worst) == 3  # what is equal is no disagreement
    assert [(one.op, one.shared) for one in found.by_op] == [("conv2d", 4)]


def test_nothing_in_common() -> None:
    found = compare_tables(table({8: 1e-3}), table({16: 1e-3}))
    assert found.shared == 0
    assert math.isnan(found.median)
    assert found.worst == ()


def test_cycles_are_not_seconds() -> None:
    with pytest.raises(TableError, match="cannot be compared"):
        compare_tables(table({8: 1e-3}), table({8: 1.0}, unit="cycles"))


def test_operators_in_few_words() -> None:
    odd = OpKey("conv2d", 8, 16, (1, 5), (2, 2), groups=4, in_size=(9, 7), precision="int8")
    assert short(odd) == "conv2d 8>16 k1x5 s2 g4 @9x7 int8"


def test_fitted_tables_are_compared_on_ordinary_operators() -> None:
    found = compare_tables(find_table("rpi4-1t"), find_table("rpi4-4t"))
    assert found.ordinary
    assert found.shared == 180  # fp32 and int8
    assert found.median < 1.0  # four threads
    assert ("threads", "1", "4") in found.conditions
    assert found.worst[0].sources == ("fitted", "fitted")
