"""Reading, writing and asking latency tables."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest

from automl.errors import TableError
from automl.latency.header import FittedOverhead, KnownError, TableHeader
from automl.latency.keys import MISSING, OpKey
from automl.latency.rows import Row, parse_row, row_line
from automl.latency.table import LatencyTable

HEADER = TableHeader(name="board", device="Board", runtime="onnxruntime", threads=1)


def conv(read: int, written: int, size: int = 8) -> OpKey:
    return OpKey(
        "conv2d", read, written, (3, 3), padding=(1, 1), in_size=(size, size), out_size=(size, size)
    )


def depthwise(channels: int) -> OpKey:
    shape = (8, 8)
    return OpKey(
        "depthwise_conv2d",
        channels,
        channels,
        (3, 3),
        groups=channels,
        in_size=shape,
        out_size=shape,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.jsonl"


def grid_table() -> LatencyTable:
    """A bilinear function of the channels on a grid, so that interpolation is exact."""
    rows = [
        Row(conv(read, written), 1e-6 * (1 + read * written), 0.01, 10)
        for read in (8, 16, 32)
        for written in (8, 24, 64)
    ]
    return LatencyTable(HEADER, rows)


def test_what_is_written_is_read(path: Path) -> None:
    header = HEADER.model_copy(
        update={
            "aliases": ("b",),
            "overhead": FittedOverhead(
                scale=1.1, seconds_per_operator=0, seconds_per_call=1e-5, networks=5, error=0.02
            ),
            "known_error": KnownError(relative=0.1, on="nothing much"),
            "conditions": "cold",
        }
    )
    rows = [
        Row(conv(8, 8), 1e-5, 0.01, 30),
        Row(OpKey("matmul", 64, 50, groups=4, in_size=(50, 1), precision="int8"), 2e-5),
        Row(OpKey("activation", 8, 8, detail="silu"), 3e-6, joules=1e-4, origin="a paper"),
    ]
    written = LatencyTable.create(path, header, rows)
    read = LatencyTable.read(path)
    assert read.header == header
    assert [row.key for row in read.rows] == [row.key for row in rows]
    assert read.rows[2].joules == 1e-4
    assert math.isnan(read.rows[1].spread)
    assert read.digest == written.digest


def test_row_lines_name_what_they_hold() -> None:
    line = json.loads(row_line(Row(conv(8, 16), 1e-5, 0.01, 30)))
    assert line["in_channels"] == 8
    assert line["kernel"] == [3, 3]
    assert "stride" not in line
    assert parse_row(json.dumps(line), "seconds", "x").key == conv(8, 16)


def test_digest_depends_on_rows_and_not_on_their_order() -> None:
    rows = [Row(conv(8, 8), 1e-5), Row(conv(8, 16), 2e-5)]
    one = LatencyTable(HEADER, rows).digest
    assert one == LatencyTable(HEADER, rows[::-1]).digest
    assert one != LatencyTable(HEADER, rows[:1]).digest
    assert one != LatencyTable(HEADER.model_copy(update={"name": "c"}), rows).digest


def test_measured_interpolated_and_missing() -> None:
    table = grid_table()
    keys = [conv(16, 24), conv(12, 40), conv(4, 8), conv(64, 8), conv(16, 24, size=4)]
    found = table.lookup(keys)
    assert found.source.tolist() == [0, 1, MISSING, MISSING, MISSING]
    assert found.seconds[:2] == pytest.approx([1e-6 * (1 + 16 * 24), 1e-6 * (1 + 12 * 40)])
    assert np.isnan(found.seconds[2:]).all()
    assert found.spread[1] > found.spread[0]


def test_interpolation_needs_rows_on_all_sides() -> None:
    rows = [Row(conv(8, 8), 1e-6), Row(conv(16, 8), 2e-6), Row(conv(16, 16), 4e-6)]
    found = LatencyTable(HEADER, rows).lookup(
        [conv(12, 8), conv(16, 12), conv(8, 12), conv(12, 12)]
    )
    assert found.source.tolist() == [1, 1, MISSING, MISSING]
    assert found.seconds[:2] == pytest.approx([1.5e-6, 3e-6])


def test_depthwise_rows_are_one_family() -> None:
    rows = [Row(depthwise(8), 1e-6), Row(depthwise(24), 3e-6)]
    found = LatencyTable(HEADER, rows).lookup([depthwise(16)])
    assert found.seconds[0] == pytest.approx(2e-6)


def test_rows_added_later_are_found(path: Path) -> None:
    table = LatencyTable.create(path, HEADER)
    assert table.lacks([conv(8, 8), conv(8, 8)]) == (conv(8, 8),)
    table.append([Row(conv(8, 8), 1e-6), Row(conv(8, 24), 3e-6)])
    assert table.lookup([conv(8, 16)]).seconds[0] == pytest.approx(2e-6)
    table.append([Row(conv(8, 16), 9e-6)])
    assert table.lookup([conv(8, 16)]).source[0] == 0
    assert len(LatencyTable.read(path)) == 3


def test_predictor_fills_what_rows_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Guess:
        def predict(self, keys: list[OpKey]) -> tuple[np.ndarray, np.ndarray]:
            seconds = np.array([1e-9 * key.macs if key.macs else np.nan for key in keys])
            return seconds, np.full(len(keys), 0.2)

    from automl.latency import predict

    monkeypatch.setattr(predict, "load_predictor", lambda coefficients: Guess())
    header = HEADER.model_copy(update={"coefficients": {"model": "guess"}})
    pool = OpKey("max_pool", 8, 8, (2, 2), (2, 2), in_size=(8, 8), out_size=(4, 4))
    found = LatencyTable(header, [Row(conv(8, 8), 5e-6)]).lookup([conv(8, 8), conv(64, 64), pool])
    assert found.source.tolist() == [0, 2, MISSING]
    assert found.seconds[1] == pytest.approx(1e-9 * conv(64, 64).macs)
    assert found.spread[1] == 0.2


def test_many_keys_are_answered_in_their_order() -> None:
    keys = [conv(read, written) for read in range(8, 33) for written in range(8, 65)]
    found = grid_table().lookup(keys)
    expected = [1e-6 * (1 + key.in_channels * key.out_channels) for key in keys]
    assert found.seconds == pytest.approx(expected)


def test_a_line_that_was_cut_off(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LatencyTable.create(path, HEADER, [Row(conv(8, 8), 1e-6), Row(conv(8, 16), 2e-6)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"board\.jsonl:3: the line is cut off"):
        LatencyTable.read(path)
    with caplog.at_level(logging.WARNING):
        table = LatencyTable.read(path, resume=True)
    assert "board.jsonl:3" in caplog.text
    assert len(table) == 1
    table.append([Row(conv(8, 32), 3e-6)])
    assert [row.key for row in LatencyTable.read(path).rows] == [conv(8, 8), conv(8, 32)]


def test_rows_of_another_process_are_not_doubled(path: Path) -> None:
    ours = LatencyTable.create(path, HEADER)
    theirs = LatencyTable.read(path)
    ours.append([Row(conv(8, 8), 1e-6)])
    theirs.append([Row(conv(8, 8), 9e-6), Row(conv(8, 16), 2e-6)])
    ours.append([Row(conv(8, 32), 3e-6)])
    rows = LatencyTable.read(path).rows
    assert [row.key.out_channels for row in rows] == [8, 16, 32]
    assert rows[0].seconds == 1e-6


def test_a_new_header_keeps_the_rows(path: Path) -> None:
    table = LatencyTable.create(path, HEADER, [Row(conv(8, 8), 1e-6)])
    LatencyTable.read(path).append([Row(conv(8, 16), 2e-6)])
    table.set_header(HEADER.model_copy(update={"conditions": "warm"}))
    read = LatencyTable.read(path)
    assert read.header.conditions == "warm"
    assert len(read) == 2
    table.append([Row(conv(8, 32), 3e-6)])
    assert len(LatencyTable.read(path)) == 3
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_table_is_not_overwritten(path: Path) -> None:
    LatencyTable.create(path, HEADER)
    with pytest.raises(TableError, match="already"):
        LatencyTable.create(path, HEADER)


def test_an_operator_is_added_once() -> None:
    table = LatencyTable(HEADER, [Row(conv(8, 8), 1e-6)])
    with pytest.raises(TableError, match="already"):
        table.append([Row(conv(8, 8), 1e-6)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": -1e-6}, "seconds -1e-06 is not"),
        ({"seconds": math.nan}, "seconds nan is not"),
        ({"seconds": "1ms"}, "seconds '1ms' is not"),
        ({"seconds": None}, "seconds None is not"),
        ({"op": "conv3d"}, r"unknown operator 'conv3d' \(did you mean conv2d"),
        ({"in_channels": 0}, "in_channels 0 is not"),
        ({"in_channels": 8.5}, "in_channels 8.5 is not"),
        ({"kernel": [3]}, r"kernel \[3\] is not \[height, width\]"),
        ({"source": "guessed"}, "source 'guessed'"),
        ({"spread": -0.1}, "spread -0.1"),
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


def test_a_corrupt_line_in_the_middle_is_an_error(path: Path) -> None:
    LatencyTable.create(path, HEADER, [Row(conv(8, 8), 1e-6), Row(conv(8, 16), 2e-6)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-9], lines[2]]) + "\n")
    with pytest.raises(TableError, match=r"board\.jsonl:2: not JSON"):
        LatencyTable.read(path, resume=True)


def test_doubled_operators_must_agree(path: Path) -> None:
    LatencyTable.create(path, HEADER, [Row(conv(8, 8), 1e-6)])
    text = path.read_text()
    path.write_text(text + row_line(Row(conv(8, 8), 1e-6)) + "\n")
    assert len(LatencyTable.read(path)) == 1
    path.write_text(text + row_line(Row(conv(8, 8), 2e-6)) + "\n")
    with pytest.raises(TableError, match=r":3: the same operator as line 2 with another time"):
        LatencyTable.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a latency table"),
        ("schema\n", "not a latency table"),
        ('{"schema_version": 9, "name": "a", "device": "b", "runtime": "c"}\n', "schema_version 9"),
        ('{"name": "a", "runtime": "c"}\n', "header field 'device'"),
        ('{"name": "a", "device": "b", "runtime": "c", "batch": 2}\n', "header field 'batch'"),
        ('{"name": "a", "device": "b", "runtime": "c", "speed": 2}\n', "header field 'speed'"),
    ],
)
def test_a_bad_header_is_named(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(TableError, match=rf"board\.jsonl:1: {message}"):
        LatencyTable.read(path)


def test_a_file_that_is_not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TableError, match="cannot be read"):
        LatencyTable.read(path)
