"""Tables on disk: appended to safely, read strictly."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from small_tables import HEADER, conv

from automl.errors import TableError
from automl.latency.rows import Row, row_line
from automl.latency.store import (
    append_rows,
    read_header,
    read_table,
    replace_header,
    write_table,
)
from automl.latency.table import LatencyTable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board.jsonl"


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


def test_a_file_that_is_not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TableError, match="cannot be read"):
        LatencyTable.read(path)


def test_a_header_is_read_without_its_rows(path: Path) -> None:
    write_table(path, HEADER, [Row(conv(8, 8), 1e-6)])
    path.write_text(path.read_text() + "no row\n")
    assert read_header(path) == HEADER
    with pytest.raises(TableError, match=r"board\.jsonl:3: not JSON"):
        read_table(path)


def test_appending_to_a_file_of_a_known_size_reads_nothing_of_it(path: Path) -> None:
    write_table(path, HEADER, [Row(conv(8, 8), 1e-6)])
    size = append_rows(path, "seconds", [Row(conv(8, 16), 2e-6)])
    assert size == path.stat().st_size
    path.write_bytes(path.read_bytes().replace(b"conv2d", b"conv9d"))  # of the same size
    assert append_rows(path, "seconds", [Row(conv(8, 24), 3e-6)], size) > size
    with pytest.raises(TableError, match="unknown operator 'conv9d'"):
        append_rows(path, "seconds", [Row(conv(8, 32), 3e-6)], size)


def test_appending_drops_what_was_cut_off(path: Path) -> None:
    write_table(path, HEADER, [Row(conv(8, 8), 1e-6)])
    with path.open("a") as file:
        file.write('{"op": "conv')
    append_rows(path, "seconds", [Row(conv(8, 16), 2e-6)])
    assert len(read_table(path)[1]) == 2


def test_another_header_keeps_the_rows_that_are_there(path: Path) -> None:
    write_table(path, HEADER, [Row(conv(8, 8), 1e-6)])
    replace_header(path, HEADER.model_copy(update={"device": "Other"}))
    header, rows = read_table(path)
    assert header.device == "Other"
    assert [row.key for row in rows] == [conv(8, 8)]


def test_what_is_not_there_is_named(path: Path) -> None:
    for call in (read_header, read_table, lambda at: append_rows(at, "seconds", [])):
        with pytest.raises(TableError, match=r"board\.jsonl: cannot be"):
            call(path)
