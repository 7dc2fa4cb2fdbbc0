"""A latency table: what operators cost on one device, looked up, interpolated, or fitted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from automl.errors import TableError
from automl.latency.header import TableHeader
from automl.latency.interpolate import Interpolator
from automl.latency.keys import MISSING, SOURCES, OpKey, Timings
from automl.latency.rows import Row, row_line
from automl.latency.store import (
    Seen,
    append_rows,
    change_header,
    create_table,
    read_table,
    replace_rows,
)

Floats = NDArray[np.float64]


class Predictor(Protocol):
    """What a header's `coefficients` become: times for operators without rows."""

    def predict(self, keys: Sequence[OpKey]) -> tuple[Floats, Floats]:
        """Seconds of each key (NaN where it cannot tell) and their relative errors."""
        ...


class LatencyTable:
    """Operators' times on one device. In memory, or backed by a file that rows are appended to.

    Times are in `header.unit`, which is seconds for all but simulators.
    """

    def __init__(self, header: TableHeader, rows: Iterable[Row] = (), path: Path | None = None):
        self._header = header
        self._rows: dict[OpKey, Row] = {}
        self.path = path
        self._interpolator = Interpolator(())
        self._gained: set[OpKey] = set()  # what other processes measured since this one read
        self._energy = False  # whether some row knows it
        self._seen: Seen | None = None  # the file after our last append
        self._add(rows)

    @classmethod
    def read(cls, path: Path, *, resume: bool = False) -> LatencyTable:
        """Read a table file.

        Args:
            path: The file.
            resume: Leave out a last line that was cut off by a kill, with a notice in the log.

        Raises:
            TableError: Naming file and line, if anything in it cannot be read or believed.
        """
        header, rows = read_table(path, resume=resume)
        table = cls(header, rows, path)
        try:
            table.predict(())
        except TableError as error:
            raise TableError(f"{path}:1: {error}") from None
        return table

    @classmethod
    def create(cls, path: Path, header: TableHeader, rows: Iterable[Row] = ()) -> LatencyTable:
        """A new table with its file, which is written whole or not at all.

        Raises:
            TableError: If the file is there already, or cannot be written.
        """
        table = cls(header, rows, path)
        if not create_table(path, header, table.rows):
            raise TableError(f"{path}: there is a table already")
        return table

    @classmethod
    def read_or_create(cls, path: Path, header: TableHeader) -> LatencyTable:
        """The table of a file, which another process may make at the same time.

        Raises:
            TableError: If what is there cannot be read, or nothing can be written.
        """
        return (
            cls(header, (), path) if create_table(path, header, ()) else cls.read(path, resume=True)
        )

    @property
    def header(self) -> TableHeader:
        """What the table says of itself."""
        return self._header

    @property
    def name(self) -> str:
        """The name that it is asked for by."""
        return self._header.name

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in the order in which they were added."""
        return tuple(self._rows.values())

    @property
    def digest(self) -> str:
        """Hash of header and rows, whatever their order; 64 hexadecimal digits."""
        content = hashlib.sha256(self._header.model_dump_json().encode())
        for line in sorted(row_line(row, self._header.unit) for row in self._rows.values()):
            content.update(line.encode() + b"\n")
        return content.hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: OpKey) -> bool:
        return key in self._rows

    def row(self, key: OpKey) -> Row | None:
        """The row of exactly this operator."""
        return self._rows.get(key)

    def lacks(self, keys: Iterable[OpKey]) -> tuple[OpKey, ...]:
        """The keys without a row of their own, each once, in their order."""
        return tuple(key for key in dict.fromkeys(keys) if key not in self._rows)

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        """Time of each key: its row, else between rows, else from the fitted predictor, else NaN.

        A negative or non-finite prediction counts as missing.
        """
        count = len(keys)
        found = [self._rows.get(key) for key in keys]
        seconds = np.array([row.seconds if row else np.nan for row in found], dtype=np.float64)
        spread = np.array([row.spread if row else np.nan for row in found], dtype=np.float64)
        source = np.array(
            [SOURCES.index(row.source) if row else MISSING for row in found], dtype=np.int8
        )
        for code, estimate in ((1, self._interpolator.at), (2, self.predict)):
            holes = np.flatnonzero(source == MISSING)
            if not len(holes) or not count:
                break
            values, errors = estimate([keys[i] for i in holes.tolist()])
            good = np.isfinite(values) & (values > 0)
            seconds[holes[good]], spread[holes[good]] = values[good], errors[good]
            source[holes[good]] = code
        return Timings(seconds, spread, source, self.joules(keys) if self._energy else None)

    def predict(self, keys: Sequence[OpKey]) -> tuple[Floats, Floats]:
        """Seconds and relative error of each key from the fitted predictor alone, rows left out.

        NaN for both where it cannot tell, and for all where the table has no predictor.
        """
        if self._predictor is None:
            return np.full(len(keys), np.nan), np.full(len(keys), np.nan)
        return self._predictor.predict(keys)

    def joules(self, keys: Sequence[OpKey]) -> Floats:
        """Energy of each key in joules; NaN where its row does not say."""
        rows = [self._rows.get(key) for key in keys]
        return np.array([row.joules if row else np.nan for row in rows], dtype=np.float64)

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows; where there is a file they are on disk when this returns.

        The table gains what other processes appended to the file in the meantime. Where they
        measured the same operator, theirs stays.

        Raises:
            TableError: If this process knew a row of an operator before, or the file cannot be
                written.
            LockedError: If another process holds the file for too long.
        """
        for row in rows:
            if row.key in self._rows and row.key not in self._gained:
                raise TableError(f"table {self.name!r} has a row for {row.key} already")
        if self.path is not None:
            new = [row for row in rows if row.key not in self._rows]
            self._seen, held = append_rows(self.path, self._header.unit, new, self._seen)
            self._gain(held)
        self._add(rows)

    def doubtful(self, keys: Iterable[OpKey]) -> tuple[OpKey, ...]:
        """The keys whose rows were measured on a machine that was slower than at first."""
        rows = self._rows
        return tuple(key for key in dict.fromkeys(keys) if key in rows and rows[key].slower)

    def replace(self, rows: Sequence[Row]) -> None:
        """Put rows in the place of those that the table has of the same operators.

        Raises:
            TableError: The file cannot be written.
            LockedError: If another process holds the file for too long.
        """
        new = {row.key: row for row in rows}
        if self.path is not None:
            self._gain(replace_rows(self.path, self._header.unit, rows))
            self._seen = None
        held = [new.get(row.key, row) for row in self._rows.values()]
        self._rows, self._interpolator = {}, Interpolator(())
        self._add(held)

    def set_header(self, header: TableHeader) -> None:
        """Replace what the table says of itself; the file is replaced whole.

        Fields that are left as they were keep what other processes made of them in the file.

        Raises:
            TableError: If the unit is another, or the file cannot be written.
            LockedError: If another process holds the file for too long.
        """
        if header.unit != self._header.unit:
            raise TableError(f"table {self.name!r} is in {self._header.unit}, not {header.unit}")
        if self.path is not None:
            changes = {
                name: value for name, value in header if value != getattr(self._header, name)
            }
            header, held = change_header(self.path, changes)
            self._gain(held)
        self._header = header
        self.__dict__.pop("_predictor", None)

    def _gain(self, held: Sequence[Row]) -> None:
        self._gained.update(row.key for row in held if row.key not in self._rows)
        self._add(held)

    def _add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row.key in self._rows:
                continue
            self._rows[row.key] = row
            self._interpolator.add(row)
            self._energy = self._energy or not math.isnan(row.joules)

    @cached_property
    def _predictor(self) -> Predictor | None:
        coefficients: dict[str, Any] | None = self._header.coefficients
        if coefficients is None:
            return None
        from automl.latency.predict import load_predictor  # only tables that are fitted pay for it

        predictor: Predictor = load_predictor(coefficients)
        return predictor
