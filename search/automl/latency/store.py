"""Latency tables on disk: JSON Lines that are created whole, appended to safely, read strictly."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from automl.documents import decoded, open_file, read_bytes, read_text
from automl.errors import LockedError, TableError
from automl.files import locked, write_whole
from automl.latency.header import HEADER_BYTES, TableHeader, parse_header
from automl.latency.keys import OpKey
from automl.latency.rows import Row, parse_row, row_line

_LOG = logging.getLogger(__name__)
#: How long another process may write a table before we give up: a write takes milliseconds.
WAIT_SECONDS: Final = 60.0
#: Bytes that a table may have: some hundred thousand rows.
TABLE_BYTES: Final = 1 << 24


def read_header(path: Path) -> TableHeader:
    """The header alone, from the file's first line.

    Raises:
        TableError: If it cannot be read or is no header.
    """
    try:
        with open_file(path) as file:
            line = file.readline(HEADER_BYTES + 1)
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: cannot be read: {error}") from None
    return parse_header(decoded(line, str(path), TableError), f"{path}:1")


def read_table(path: Path, *, resume: bool = False) -> tuple[TableHeader, list[Row]]:
    """Header and rows of a table file.

    Args:
        path: The file.
        resume: Leave out a last line that was cut off by a kill, with a notice in the log.

    Raises:
        TableError: Naming file and line, if anything in it cannot be read or believed.
    """
    text = read_lines(path)
    if not resume and not text.endswith("\n"):  # is somebody in the middle of writing it?
        with contextlib.suppress(TableError, LockedError), _own(path):
            text = read_lines(path)
    end = text.rfind("\n") + 1
    header, rows = _parse(text[:end] or text, path)
    if end and end < len(text):
        number = text.count("\n") + 1
        if not resume:
            raise TableError(
                f"{path}:{number}: the line is cut off; `automl profile` drops it and goes on"
            )
        _LOG.warning("%s:%d: dropped a line that was cut off", path, number)
    return header, rows


def read_lines(path: Path) -> str:
    """The text of a table file.

    Raises:
        TableError: It cannot be read, or is far larger than tables are.
    """
    return read_text(path, TableError, "table", most=TABLE_BYTES)


def lines_of(text: str, start: int = 0) -> Iterator[str]:
    """The lines of a text from a place on, without their ends; what follows the last end too."""
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _rows(lines: Iterable[str], unit: str, path: Path) -> Iterator[Row]:
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


def create_table(path: Path, header: TableHeader, rows: Iterable[Row]) -> bool:
    """Write a new table whole, or not at all; False where there is one already, which is kept.

    Raises:
        TableError: The file cannot be written.
        LockedError: Another process is about to make it, and does not get done.
    """
    lines = (row_line(row, header.unit) for row in rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TableError(f"{path}: cannot be written: {error}") from None
    with _own(path):
        if path.exists():
            return False
        write_whole(path, "\n".join((_header_line(header), *lines)) + "\n")
        return True


def change_header(path: Path, changes: Mapping[str, Any]) -> tuple[TableHeader, list[Row]]:
    """Replace fields of the header, all else as it is in the file now.

    Args:
        path: The file.
        changes: Fields with their new values.

    Returns:
        Header and rows that the file holds now, those of other processes among them.

    Raises:
        TableError: What the file holds cannot be read, or it cannot be written.
        LockedError: Another process holds the file for too long.
    """
    with _own(path):
        content = read_bytes(path, TableError, "table", most=TABLE_BYTES)
        text = decoded(_whole_lines(content), str(path), TableError)
        header, rows = _parse(text, path)
        header = header.model_copy(update=dict(changes))
        write_whole(path, _header_line(header) + text[text.index("\n") :])
    return header, rows


@dataclass(frozen=True, slots=True)
class Seen:
    """How a file was when it was last read or written: another state means another's changes."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Seen:
        """What a file's status says."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


def append_rows(
    path: Path, unit: str, rows: Sequence[Row], seen: Seen | None = None
) -> tuple[Seen, list[Row]]:
    """Append rows as whole lines that are on disk when this returns; a line that was cut off goes.

    Rows whose operators another process measured in the meantime are left out.

    Args:
        path: The file.
        unit: Name of the field that holds the time.
        rows: What to append.
        seen: The state that this function returned before; None has the file read.

    Returns:
        The file's state, and the rows that it held before; none where it was as `seen`.

    Raises:
        TableError: What the file holds cannot be read, or it cannot be written.
        LockedError: Another process holds the file for too long.
    """
    with _own(path), path.open("r+b") as file:
        held: list[Row] = []
        if Seen.of(os.fstat(file.fileno())) != seen:
            content = _whole_lines(file.read())
            _, held = _parse(decoded(content, str(path), TableError), path)
            file.truncate(len(content))
        keys = {row.key for row in held}
        new = "".join(row_line(row, unit) + "\n" for row in rows if row.key not in keys)
        file.seek(0, os.SEEK_END)
        file.write(new.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())
        return Seen.of(os.fstat(file.fileno())), held


def replace_rows(path: Path, unit: str, rows: Sequence[Row]) -> list[Row]:
    """Put rows in the place of those of the same operators; the file is replaced whole.

    Returns:
        The rows that the file holds now, those of other processes among them.

    Raises:
        TableError: What the file holds cannot be read, or it cannot be written.
        LockedError: Another process holds the file for too long.
    """
    new = {row.key: row for row in rows}
    with _own(path):
        text = _whole_lines(path.read_bytes()).decode("utf-8")
        _, held = _parse(text, path)
        first = text[: text.index("\n") + 1]
        whole = [new.get(row.key, row) for row in held]
        write_whole(path, first + "".join(row_line(row, unit) + "\n" for row in whole))
    return whole


def _whole_lines(content: bytes) -> bytes:
    """All but what a process left after the last end of a line when it was killed."""
    return content[: content.rfind(b"\n") + 1]


def _parse(text: str, path: Path) -> tuple[TableHeader, list[Row]]:
    """Header and rows of whole lines."""
    lines = lines_of(text)
    header = parse_header(next(lines), f"{path}:1")
    last = text.count("\n") - 1  # what follows the last end is no line
    return header, list(_rows(itertools.islice(lines, max(last, 0)), header.unit, path))


def _header_line(header: TableHeader) -> str:
    return header.model_dump_json(exclude_defaults=False, exclude_none=True)


@contextlib.contextmanager
def _own(path: Path) -> Iterator[None]:
    """Let no other process write the table until the block ends."""
    try:
        with locked(path, WAIT_SECONDS):
            yield
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be written: {error}") from None
