"""Rows of a table as lines of JSON, read strictly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from small_tables import HEADER, conv

from automl.errors import TableError
from automl.latency.keys import OpKey
from automl.latency.rows import Row, parse_row, row_line
from automl.latency.table import LatencyTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.jsonl"


def test_row_lines_name_what_they_hold() -> None:
    line = json.loads(row_line(Row(conv(8, 16), 1e-5, 0.01, 30)))
    assert line["in_channels"] == 8
    assert line["kernel"] == [3, 3]
    assert "stride" not in line
    assert parse_row(json.dumps(line), "seconds", "x").key == conv(8, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": -1e-6}, "seconds -1e-06 is not"),
        ({"seconds": math.nan}, "NaN is no number that JSON has"),
        ({"seconds": "1ms"}, "seconds '1ms' is not"),
        ({"seconds": None}, "seconds None is not"),
        ({"op": "conv4d"}, r"unknown operator 'conv4d' \(did you mean conv"),
        ({"in_channels": 0}, "in_channels 0 is not"),
        ({"in_channels": 8.5}, "in_channels 8.5 is not"),
        ({"kernel": [3]}, r"kernel \[3\] is not \[height, width\]"),
        ({"source": "guessed"}, "source 'guessed'"),
        ({"spread": -0.1}, "spread -0.1"),
        ({"slower": -0.1}, "slower -0.1"),
        ({"kernell": [3, 3]}, r"unknown field 'kernell' \(did you mean kernel"),
    ],
)
def test_a_bad_row_is_named(path: Path, changes: dict[str, object], message: str) -> None:
    LatencyTable.create(path, HEADER, [Row(conv(8, 8), 1e-6)])
    line = json.loads(row_line(Row(conv(8, 16), 2e-6))) | changes
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(TableError, match=rf"board\.jsonl:3: {message}"):
        LatencyTable.read(path)


def test_a_row_in_another_unit_is_refused(path: Path) -> None:
    LatencyTable.create(path, HEADER)
    line = json.loads(row_line(Row(conv(8, 16), 2e-6)))
    line["latency_ms"] = line.pop("seconds")
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    with pytest.raises(TableError, match=r":2: no 'seconds'.*found 'latency_ms'"):
        LatencyTable.read(path)


def test_cycles_have_their_own_field(path: Path) -> None:
    header = HEADER.model_copy(update={"unit": "cycles"})
    LatencyTable.create(path, header, [Row(conv(8, 8), 1200.0)])
    assert json.loads(path.read_text().splitlines()[1])["cycles"] == 1200.0
    assert LatencyTable.read(path).lookup([conv(8, 8)]).seconds[0] == 1200.0


@pytest.mark.parametrize(
    "row",
    [
        Row(conv(8, 16), 1e-5, 0.25, 30, "measured", 2e-4, "a paper"),
        Row(OpKey("matmul", 64, 50, groups=4, in_size=(50, 1), precision="int8"), 2e-5),
        Row(OpKey("activation", 8, 8, detail="silu"), 3e-6, source="fitted"),
        Row(OpKey("linear", 8, 8), 3e-6, 0.01, 9, board="orin-2:2222"),
        Row(OpKey("linear", 8, 9), 3e-6, 0.31, 9, slower=0.3),
    ],
    ids=lambda row: row.key.op,
)
def test_what_is_written_is_read_field_by_field(row: Row) -> None:
    found = parse_row(row_line(row), "seconds", "here")
    assert repr(found) == repr(row)  # NaN is not equal to itself


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "here: a row is a JSON object, not list"),
        ("{", "here: not JSON"),
        ('{"op": "linear", "in_channels": 1, "out_channels": 1, "seconds": 1, "runs": 1.5}',
         "runs 1.5 is not"),
        ('{"op": "linear", "in_channels": 1, "out_channels": 1, "seconds": 1, "detail": 3}',
         "detail 3 is not a text"),
        ('{"op": "linear", "in_channels": 1, "out_channels": 1, "seconds": 1, "board": 3}',
         "board 3 is not a text"),
        ('{"op": "linear", "in_channels": 1, "out_channels": 1, "seconds": 1%s}' % ("0" * 400),
         "'seconds': the number of 1329 bits takes more than 64 bits"),
        ('{"op": "linear", "in_channels": 1, "out_channels": 1%s, "seconds": 1}' % ("0" * 400),
         "'out_channels': the number of 1329 bits takes more than 64 bits"),
        ('{"op": "linear", "in_channels": 1, "out_channels": 1, "seconds": 1%s}' % ("0" * 5000),
         "a number of thousands of digits"),
        ('{"a":' * 10_000, "values lie more than 32 deep in each other"),
        ('{"a":' * 100_000, "at most 65,536 characters, not 500,000"),
        ('{"op": "linear", "in_channels": true, "out_channels": 1, "seconds": 1}',
         "in_channels True is not"),
    ],
)  # fmt: skip
def test_what_is_no_row_is_named(line: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        parse_row(line, "seconds", "here")


@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ((7, 8, 2), "groups 2 do not divide in_channels 7; the nearest that do are 1"),
        ((12, 9, 4), "groups 4 do not divide out_channels 9; the nearest that do are 3"),
        ((8, 8, 16), "groups 16 do not divide in_channels 8; the nearest that do are 8"),
    ],
)
def test_groups_that_do_not_divide_are_refused(widths: tuple[int, int, int], said: str) -> None:
    read, written, groups = widths
    line = (
        f'{{"op": "conv2d", "in_channels": {read}, "out_channels": {written}, "groups": {groups},'
        ' "seconds": 1}'
    )
    with pytest.raises(TableError, match=said):
        parse_row(line, "seconds", "here")


#: A convolution of a row, 3x3 on maps of 9x9 with padding 1.
CONV = {"op": "conv2d", "in_channels": 8, "out_channels": 8, "kernel": [3, 3], "padding": [1, 1]}
MAPS = {"in_size": [9, 9], "out_size": [9, 9], "seconds": 1e-5}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"out_size": [9, 8]},
            r"out_size \[9, 8\] does not follow from in_size \[9, 9\]: .*9, 9\]",
        ),
        (
            {"stride": [2, 2]},
            r"a conv2d of that kernel, stride, padding and dilation writes \[5, 5",
        ),
        (
            {"op": "depthwise_conv2d", "groups": 8, "dilation": [2, 2]},
            r"depthwise_.* writes \[7, 7",
        ),
        ({"op": "conv_transpose2d", "stride": [2, 2]}, r"a conv_transpose2d .* writes \[17, 17\]"),
        ({"kernel": [13, 3]}, r"kernel \[13, 3\] is larger than in_size \[9, 9\] with padding"),
        ({"op": "conv3d"}, r"kernel \[3, 3\] has 2 numbers, that of a conv3d has 3"),
        ({"out_size": [9, 9, 1]}, r"out_size \[9, 9, 1\] has 3 numbers, that of a conv2d has 2"),
        ({"out_size": [10**15, 10**15]}, "does not follow from in_size"),
    ],
)
def test_what_a_convolution_writes_follows_from_what_it_reads(
    changes: dict[str, object], said: str
) -> None:
    parse_row(json.dumps(CONV | MAPS), "seconds", "here")
    with pytest.raises(TableError, match=rf"here: .*{said}"):
        parse_row(json.dumps(CONV | MAPS | changes), "seconds", "here")


@pytest.mark.parametrize("written", [17, 18])
def test_padding_of_its_output_is_a_transposed_convolutions_own(written: int) -> None:
    maps = MAPS | {"stride": [2, 2], "out_size": [written, written]}
    row = CONV | maps | {"op": "conv_transpose2d"}
    assert parse_row(json.dumps(row), "seconds", "here").key.out_size == (written, written)
