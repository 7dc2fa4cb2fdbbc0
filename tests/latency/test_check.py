"""What cannot be believed is found, what can be is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automl.errors import TableError
from automl.latency.check import check_file, check_rows, coverage
from automl.latency.features import operator_features
from automl.latency.header import BoardComparison, TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row, row_line
from automl.latency.store import create_table
from automl.latency.table import LatencyTable
from automl.latency.targets import find_table

HEADER = TableHeader(name="board", device="Board", runtime="onnxruntime", threads=1)


def key(inputs: int, outputs: int, size: int = 16, **more: object) -> OpKey:
    square = (size, size)
    return OpKey(
        "conv2d", inputs, outputs, (3, 3), padding=(1, 1), in_size=square, out_size=square, **more
    )


def plausible() -> list[Row]:
    """An ordinary core: a few microseconds, ten billion multiply-accumulates a second."""
    keys = [key(a, b, s) for a in (8, 32, 128) for b in (8, 32, 128) for s in (4, 16, 56)]
    ops = operator_features(keys, (1, 1))
    seconds = 5e-6 + ops.size / 1e10 + ops.moved / 1e9
    return [Row(one, time, 0.02, 90) for one, time in zip(keys, seconds.tolist(), strict=True)]


def kinds(rows: list[Row], header: TableHeader = HEADER) -> list[str]:
    return [finding.kind for finding in check_rows(header, rows)]


def test_what_can_be_is_not_found() -> None:
    assert kinds(plausible()) == []


def test_the_shipped_predictions_can_be() -> None:
    keys = [row.key for row in plausible()]
    for name in ("rpi4", "pixel4", "jetson-nano"):
        table = find_table(name)
        precision = table.header.precisions[0]
        asked = [
            key(one.in_channels, one.out_channels, one.in_size[0], precision=precision)
            for one in keys
        ]
        rows = [Row(k, s) for k, s in zip(asked, table.lookup(asked).seconds, strict=True)]
        assert kinds(rows, table.header) == []


def test_a_table_in_milliseconds() -> None:
    rows = [Row(row.key, row.seconds * 1e3) for row in plausible()]
    found = check_rows(HEADER, rows)
    assert [finding.kind for finding in found] == ["unit"]
    assert "milliseconds" in found[0].text


def test_against_known_devices() -> None:
    devices = [find_table(name) for name in ("rpi4-1t", "a03s-small", "pixel4-large")]
    for factor, said in ((1.0, ""), (1e3, "slowest known device, a03s"), (1e-5, "larger unit")):
        quick = [Row(row.key, row.seconds / 10 * factor) for row in plausible()]
        found = [one for one in check_rows(HEADER, quick, None, devices) if one.kind == "unit"]
        assert len(found) == bool(said)
        assert not found or said in found[0].text


@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_some_rows_in_another_unit(factor: float) -> None:
    rows = plausible()
    for place in (3, 11, 20):
        rows[place] = Row(rows[place].key, rows[place].seconds * factor)
    (found, *rest) = check_rows(HEADER, rows)
    assert found.kind == "unit"
    assert "3 of 27 rows" in found.text
    assert all(finding.kind == "order" for finding in rest)


def test_rows_against_the_predictor_of_their_table() -> None:
    shipped = find_table("rpi4")
    keys = [row.key for row in plausible()]
    seconds = shipped.lookup(keys).seconds
    rows = [Row(one, time * 1e3) for one, time in zip(keys, seconds.tolist(), strict=True)]
    found = check_rows(shipped.header, rows, shipped)
    assert [finding.kind for finding in found] == ["unit"]
    assert "most of 27 rows" in found[0].text
    assert "predictor" in found[0].text


def test_more_work_at_less_time() -> None:
    rows = plausible()
    slow = next(row for row in rows if row.key == key(32, 32))
    rows[rows.index(slow)] = Row(slow.key, slow.seconds * 50, 0.02)
    found = check_rows(HEADER, rows)
    assert {finding.kind for finding in found} == {"order"}
    assert all("32>32 k3 @16x16" in finding.text for finding in found)
    noisy = [Row(row.key, row.seconds, 0.6) for row in rows]
    assert kinds(noisy) == []  # not clearly less


def test_rows_that_are_lost_in_the_noise() -> None:
    (found,) = check_rows(HEADER, [Row(key(8, 8), 1e-4, spread=3.0)])
    assert (found.kind, found.text) == ("noise", "conv2d 8>8 k3 @16x16 fp32 has a spread of 300 %")
    (found,) = check_rows(HEADER, [Row(OpKey("add", 8, 8, in_size=(4, 4), out_size=(4, 4)), 1e-9)])
    assert (found.kind, found.text) == (
        "noise",
        "add 8>8 @4x4 fp32 takes no time that can be measured",
    )


def test_impossible_values() -> None:
    found = check_rows(HEADER, [Row(key(512, 512, 200), 1e-9)])
    assert "MACs a second" in next(one.text for one in found if one.kind == "impossible")


def test_every_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "board.jsonl"
    create_table(path, HEADER, plausible())
    good = json.loads(row_line(plausible()[0]))
    other = {**good, "out_channels": 999}
    bad = [
        {**other, "seconds": -1.0},
        {**other, "seconds": float("nan")},
        {name: value for name, value in other.items() if name != "seconds"},
        {**other, "out_channels": 998, "seconds": 0},
        {**good, "seconds": 7.0},
    ]
    ms = {name: value for name, value in other.items() if name != "seconds"} | {"ms": 1.0}
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in [*bad, ms])
        file.write('{"op":"conv')
    table, found = check_file(path)
    assert len(table) == len(plausible())
    texts = [finding.text for finding in found]
    assert [finding.kind for finding in found] == ["unreadable"] * 4 + ["impossible"] + [
        "unreadable"
    ] * 2
    assert f"{path}:29" in texts[0]
    assert "there already with another time" in texts[4]
    assert "found 'ms'" in texts[5]
    with pytest.raises(TableError, match="No such file"):
        check_file(tmp_path / "nothing.jsonl")


def test_coverage() -> None:
    table = LatencyTable(HEADER, plausible())
    keys = [key(8, 8), key(8, 16), key(8, 512), OpKey("linear", 8, 8), key(8, 8)]
    found = coverage(table, keys)
    assert (found.asked, found.measured, found.interpolated, found.fitted) == (4, 1, 1, 0)
    assert found.missing_ops == (("conv2d", 1), ("linear", 1))
    assert np.isfinite(table.lookup(keys[:2]).seconds).all()


def of_boards(*names: str) -> list[Row]:
    return [
        replace(row, board=names[number % len(names)]) for number, row in enumerate(plausible())
    ]


def compared(board: str, beside: str, ratio: float) -> BoardComparison:
    return BoardComparison(board=board, beside=beside, ratio=ratio, spread=0.02, operators=9)


def with_boards(*boards: BoardComparison) -> TableHeader:
    return HEADER.model_copy(update={"boards": boards})


def test_boards_that_disagree_are_found() -> None:
    header = with_boards(compared("b", "a", 1.01), compared("c", "a", 1.31))
    (found,) = check_rows(header, of_boards("a", "b", "c"))
    assert found.kind == "boards"
    assert found.text == (
        "c takes 1.310 times as long as a (± 2.0 %, 9 operators measured on both);"
        " 9 and 9 of 27 rows are theirs"
    )
    assert check_rows(with_boards(compared("b", "a", 1.01)), of_boards("a", "b")) == ()
    assert check_rows(HEADER, of_boards("a")) == ()


def test_boards_that_nobody_compared_are_found() -> None:
    header = with_boards(compared("c", "b", 1.0), compared("b", "a", 1.0))
    assert check_rows(header, of_boards("a", "b", "c")) == ()
    (found,) = check_rows(header, of_boards("a", "b", "c", "d"))
    assert found.text == "rows of d were never compared with rows of a, b, c"
    (found,) = check_rows(HEADER, of_boards("a", "b"))
    assert found.text == "rows of b were never compared with rows of a"
