"""Tables on disk: appended to safely, read strictly."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from small_tables import HEADER, conv

from automl.errors import TableError
from automl.latency.rows import Row, row_line
from automl.latency.store import (
    append_rows,
    change_header,
    create_table,
    read_header,
    read_table,
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
    assert [file.name for file in path.parent.glob("[!.]*")] == [path.name]


def test_what_others_append_is_gained_and_not_doubled(path: Path) -> None:
    """Row by row, as a profile appends: the second writer knows of the first's only by the file."""
    ours = LatencyTable.create(path, HEADER)
    theirs = LatencyTable.read(path)
    for count in (8, 16, 24):
        ours.append([Row(conv(8, count), 1e-6)])
    theirs.append([Row(conv(8, 8), 9e-6)])
    assert conv(8, 24) in theirs
    assert theirs.lookup([conv(8, 8)]).seconds[0] == 1e-6
    theirs.append([Row(conv(8, 16), 9e-6)])
    theirs.append([Row(conv(8, 32), 4e-6)])
    with pytest.raises(TableError, match="already"):
        ours.append([Row(conv(8, 8), 2e-6)])
    assert len(LatencyTable.read(path)) == 4


def test_headers_of_two_processes_are_merged_field_by_field(path: Path) -> None:
    ours = LatencyTable.create(path, HEADER)
    theirs = LatencyTable.read(path)
    ours.set_header(HEADER.model_copy(update={"conditions": "warm"}))
    ours.append([Row(conv(8, 8), 1e-6)])
    theirs.set_header(HEADER.model_copy(update={"provenance": "a person"}))
    read = LatencyTable.read(path)
    assert (read.header.conditions, read.header.provenance) == ("warm", "a person")
    assert theirs.header == read.header
    assert conv(8, 8) in theirs


def test_a_new_header_drops_a_line_that_was_cut_off(path: Path) -> None:
    table = LatencyTable.create(path, HEADER, [Row(conv(8, 8), 1e-6), Row(conv(8, 16), 2e-6)])
    path.write_bytes(path.read_bytes()[:-20])
    table.set_header(HEADER.model_copy(update={"conditions": "warm"}))
    assert [row.key for row in LatencyTable.read(path).rows] == [conv(8, 8)]


APPENDING = """
import sys, time
from pathlib import Path
from automl.latency import LatencyTable, OpKey, Row, TableHeader
path, start, writer = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
header = TableHeader(name="board", device="Board", runtime="onnxruntime", threads=1)
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
table = LatencyTable.read_or_create(path, header)
for number in range(40):  # every third operator is measured by both
    key = OpKey("linear", 8, number + 1 if number % 3 == 0 else 1000 * writer + number)
    if key not in table:
        table.append([Row(key, 1e-6 * writer)])
    if number == 20:
        field = "clocks" if writer == 1 else "power_mode"
        table.set_header(table.header.model_copy(update={field: "x"}))
print(len(table), flush=True)
"""


def test_two_processes_append_to_one_table(path: Path) -> None:
    start = path.parent / "start"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDING, path, start, str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    start.touch()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()
    lines = path.read_text().splitlines()
    table = LatencyTable.read(path)
    shared, own = {n + 1 for n in range(0, 40, 3)}, {n for n in range(40) if n % 3}
    expected = shared | {1000 * writer + n for writer in (1, 2) for n in own}
    assert {row.key.out_channels for row in table.rows} == expected
    assert len(lines) == 1 + len(expected)
    assert (table.header.clocks, table.header.power_mode) == ("x", "x")


def test_a_writer_that_was_killed_blocks_nobody(path: Path) -> None:
    """It held the lock and had written half a line."""
    LatencyTable.create(path, HEADER, [Row(conv(8, 8), 1e-6)])
    holding = (
        "import sys, time; from pathlib import Path; from automl.files import locked\n"
        "path = Path(sys.argv[1])\n"
        "with locked(path):\n"
        "    path.open('a').write('{\"op\": \"conv2d')\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    table = LatencyTable.read(path, resume=True)
    table.append([Row(conv(8, 16), 2e-6)])
    assert len(LatencyTable.read(path)) == 2


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
    with pytest.raises(TableError, match=r"is not text|No such file"):
        LatencyTable.read(path)


def test_a_header_is_read_without_its_rows(path: Path) -> None:
    create_table(path, HEADER, [Row(conv(8, 8), 1e-6)])
    path.write_text(path.read_text() + "no row\n")
    assert read_header(path) == HEADER
    with pytest.raises(TableError, match=r"board\.jsonl:3: not JSON"):
        read_table(path)


def test_a_file_that_nobody_else_changed_is_not_read_again(path: Path) -> None:
    create_table(path, HEADER, [Row(conv(8, 8), 1e-6)])
    seen, held = append_rows(path, "seconds", [Row(conv(8, 16), 2e-6)])
    assert [row.key for row in held] == [conv(8, 8)]
    seen, held = append_rows(path, "seconds", [Row(conv(8, 24), 3e-6)], seen)
    assert held == []
    path.write_bytes(path.read_bytes().replace(b"conv2d", b"conv9d"))  # of the same size
    with pytest.raises(TableError, match="unknown operator 'conv9d'"):
        append_rows(path, "seconds", [Row(conv(8, 32), 3e-6)], seen)


def test_appending_drops_what_was_cut_off(path: Path) -> None:
    create_table(path, HEADER, [Row(conv(8, 8), 1e-6)])
    with path.open("a") as file:
        file.write('{"op": "conv')
    append_rows(path, "seconds", [Row(conv(8, 16), 2e-6)])
    assert len(read_table(path)[1]) == 2


def test_another_header_keeps_the_rows_that_are_there(path: Path) -> None:
    create_table(path, HEADER, [Row(conv(8, 8), 1e-6)])
    change_header(path, {"device": "Other"})
    header, rows = read_table(path)
    assert header.device == "Other"
    assert [row.key for row in rows] == [conv(8, 8)]


def test_what_is_not_there_is_named(path: Path) -> None:
    for call in (read_header, read_table, lambda at: append_rows(at, "seconds", [])):
        with pytest.raises(TableError, match=r"board\.jsonl: (cannot be|No such file)"):
            call(path)
