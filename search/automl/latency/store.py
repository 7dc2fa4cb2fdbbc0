"""Latency tables on disk: JSON Lines that are created whole, appended to safely, read strictly."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from automl.errors import TableError
from automl.files import write_whole
from automl.latency.header import TableHeader, parse_header
from automl.latency.keys import OpKey
from automl.latency.rows import Row, parse_row, row_line

_LOG = logging.getLogger(__name__)


def read_header(path: Path) -> TableHeader:
    """The header alone, from the file's first line.

    Raises:
        TableError: If it cannot be read or is no header.
    """
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read: {error}") from None
    return parse_header(line, f"{path}:1")


def read_table(path: Path, *, resume: bool = False) -> tuple[TableHeader, list[Row]]:
    """Header and rows of a table file.

    Args:
        path: The file.
        resume: Leave out a last line that was cut off by a kill, with a notice in the log.

    Raises:
        TableError: Naming file and line, if anything in it cannot be read or believed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read: {error}") from None
    first, _, rest = text.partition("\n")
    header = parse_header(first, f"{path}:1")
    whole, _, cut = rest.rpartition("\n")
    lines = whole.split("\n") if whole else []
    if cut and not resume:
        raise TableError(
            f"{path}:{len(lines) + 2}: the line is cut off; `automl profile` drops it and goes on"
        )
    if cut:
        _LOG.warning("%s:%d: dropped a line that was cut off", path, len(lines) + 2)
    return header, list(_rows(lines, header.unit, path))


def _rows(lines: list[str], unit: str, path: Path) -> Iterator[Row]:
    seen: dict[OpKey, tuple[Row, int]] = {}
    for number, line in enumerate(lines, start=2):
        row = parse_row(line, unit, f"{path}:{number}")
        before = seen.setdefault(row.key, (row, number))
        if before[1] == number:
            yield row
        elif before[0].seconds != row.seconds:
            raise TableError(
                f"{path}:{number}: the same operator as line {before[1]} with another time:"
                f" {row.seconds} and {before[0].seconds} {unit}"
            )


def write_table(path: Path, header: TableHeader, rows: Iterable[Row]) -> None:
    """Write a table whole, or not at all."""
    lines = (row_line(row, header.unit) for row in rows)
    write_whole(path, "\n".join((_header_line(header), *lines)) + "\n")


def replace_header(path: Path, header: TableHeader) -> None:
    """Put another first line before the rows that the file holds now."""
    with _locked(path) as file:
        file.readline()
        rest = file.read().decode("utf-8")
        write_whole(path, _header_line(header) + "\n" + rest)


def append_rows(path: Path, unit: str, rows: Iterable[Row], known_size: int = -1) -> int:
    """Append whole lines that are on disk when this returns; a line that was cut off goes.

    Rows that another process appended in the meantime are left out.

    Args:
        path: The file.
        unit: Name of the field that holds the time.
        rows: What to append.
        known_size: What this function returned before: a file of that size was not changed since.

    Returns:
        Size of the file in bytes.
    """
    with _locked(path) as file:
        size = file.seek(0, os.SEEK_END)
        keys: set[OpKey] = set()
        if size != known_size:
            file.seek(0)
            content = file.read()
            size = content.rfind(b"\n") + 1
            lines = content[:size].decode("utf-8").splitlines()[1:]
            keys = {parse_row(line, unit, str(path)).key for line in lines}
        new = "".join(row_line(row, unit) + "\n" for row in rows if row.key not in keys)
        file.seek(size)
        file.truncate()
        file.write(new.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _header_line(header: TableHeader) -> str:
    return header.model_dump_json(exclude_defaults=False, exclude_none=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading and writing and ours alone until the block ends."""
    while True:
        try:
            file = path.open("r+b")
        except OSError as error:
            raise TableError(f"{path}: cannot be written: {error}") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                yield file
                return
            # another process replaced the file while we waited for the lock
