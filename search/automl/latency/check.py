"""What in a table cannot be believed: units, impossible values, more work at less time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from automl.errors import TableError
from automl.latency.compare import short
from automl.latency.features import operator_features
from automl.latency.header import TableHeader, parse_header
from automl.latency.keys import MISSING, SOURCES, OpKey
from automl.latency.nonnegative import fit_nonnegative
from automl.latency.rows import Row, parse_row
from automl.latency.store import lines_of, read_lines
from automl.latency.table import LatencyTable

Kind = Literal["unreadable", "unit", "impossible", "noise", "order", "boards"]
Floats = NDArray[np.float64]

#: A row so many times off what the rest or the predictor say is in another unit, not slow.
UNIT_FACTOR: Final = 200.0
#: So many times slower than the slowest known device, or quicker than the quickest, is no device.
SLOWER, QUICKER = 20.0, 1000.0
#: Seconds that stand for "lost in the noise" where a worker measured.
NOTHING: Final = 1e-9
#: Multiply-accumulates a second of large operators: outside of this no device is known.
_LEAST_RATE, _MOST_RATE = 1e7, 1e15
_LARGE: Final = 1e6  # multiply-accumulates from which a rate says something of the device
_FEWEST: Final = 8  # rows below which they are not compared with each other
_COMPARED: Final = 2000  # rows of a kind that are compared with each other; of more, every so many
_CLEARLY: Final = 0.9  # more work in less than this share of the time is listed


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a table that cannot be, or that should be looked at.

    Attributes:
        kind: What is wrong; "noise" (measured, but lost in it) and "order" (which may be the
            device's own doing: channels in blocks) are to be looked at, as are "boards" (several
            that measured and disagree, or were not compared); the others cannot be.
        text: For people, with line, operator and values.
    """

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """How a table answers a list of operators.

    Attributes:
        asked: Operators, each once.
        measured, interpolated, fitted, missing: How many are answered in which way.
        missing_ops: Types of the missing ones with how many, most first.
    """

    asked: int
    measured: int
    interpolated: int
    fitted: int
    missing: int
    missing_ops: tuple[tuple[str, int], ...]


def check_file(
    path: Path, devices: Sequence[LatencyTable] = ()
) -> tuple[LatencyTable, tuple[Finding, ...]]:
    """Everything that is wrong with a table file, unreadable lines among it, not the first alone.

    Args:
        path: The file.
        devices: As for `check_rows`.

    Returns:
        The table of the lines that can be read, and what was found.

    Raises:
        TableError: If the file or its header cannot be read.
    """
    text = read_lines(path)
    lines, last = lines_of(text), text.count("\n") + 1
    header = parse_header(next(lines), f"{path}:1")
    rows: dict[OpKey, Row] = {}
    found: list[Finding] = []
    for number, line in enumerate(lines, start=2):
        if not line and number == last:
            continue  # the end of the last line
        try:
            row = parse_row(line, header.unit, f"{path}:{number}")
        except TableError as error:
            found.append(Finding("unreadable", str(error)))
            continue
        before = rows.setdefault(row.key, row)
        if before.seconds != row.seconds:
            found.append(
                Finding(
                    "impossible",
                    f"{path}:{number}: {short(row.key)} is there already with another time:"
                    f" {row.seconds:.4g} and {before.seconds:.4g} {header.unit}",
                )
            )
    table = LatencyTable(header, rows.values(), path)
    return table, (*found, *check_rows(header, table.rows, table, devices))


def check_rows(
    header: TableHeader,
    rows: Sequence[Row],
    table: LatencyTable | None = None,
    devices: Sequence[LatencyTable] = (),
) -> tuple[Finding, ...]:
    """What in rows that can be read cannot be believed.

    Args:
        header: Of their table.
        rows: The rows.
        table: Whose fitted predictor they are held against; None for plain bounds alone.
        devices: Known devices with predictors: beyond the slowest and the quickest of them by
            far, a table is in another unit.
    """
    if not rows:
        return ()
    seconds = header.unit == "seconds"
    units = _against_predictor(rows, table) if table is not None and seconds else []
    if seconds and not units:
        units = _rates(rows) or _against_devices(rows, devices) or _against_each_other(rows)
    looked_at = (*_noise(rows, seconds), *_order(rows), *_boards(header, rows))
    return (*units, *_impossible(rows, seconds), *looked_at)


def coverage(table: LatencyTable, keys: Sequence[OpKey]) -> Coverage:
    """How the table answers the operators that a search over a model can ask for."""
    asked = tuple(dict.fromkeys(keys))
    source = table.lookup(asked).source
    measured, between, fitted, lost = np.bincount(source, minlength=len(SOURCES) + 1).tolist()
    missing: dict[str, int] = {}
    for place in np.flatnonzero(source == MISSING).tolist():
        missing[asked[place].op] = missing.get(asked[place].op, 0) + 1
    ops = sorted(missing.items(), key=lambda item: -item[1])
    return Coverage(len(asked), measured, between, fitted, lost, tuple(ops))


def _against_predictor(rows: Sequence[Row], table: LatencyTable) -> list[Finding]:
    """Rows 1000x off the header's predictor, which knows the device."""
    predicted, _ = table.predict([row.key for row in rows])
    ratio = np.array([row.seconds for row in rows]) / predicted
    known = np.isfinite(ratio)
    return _listed(rows, np.where(known, ratio, 1.0), "the table's predictor")


def _rates(rows: Sequence[Row]) -> list[Finding]:
    """Whether large operators run at a speed that some device has."""
    rates = [row.key.macs / row.seconds for row in rows if row.key.macs >= _LARGE]
    if not rates:
        return []
    median = float(np.median(rates))
    if _LEAST_RATE <= median <= _MOST_RATE:
        return []
    slow = median < _LEAST_RATE
    unit = "milliseconds or microseconds" if slow else "a larger unit"
    return [
        Finding(
            "unit",
            f"large operators run at {median:.2g} multiply-accumulates a second (median of"
            f" {len(rates)}), which no device does: are the times {unit}?",
        )
    ]


def _against_devices(rows: Sequence[Row], devices: Sequence[LatencyTable]) -> list[Finding]:
    """Whether all rows together are far slower or quicker than on any known device."""
    ratios: dict[str, float] = {}
    times = np.array([row.seconds for row in rows])
    for device in devices:
        predicted, _ = device.predict([row.key for row in rows])
        known = np.isfinite(predicted)
        if known.any() and predicted[known].sum() > 0:
            ratios[device.name] = float(times[known].sum() / predicted[known].sum())
    if not ratios:
        return []
    slowest, quickest = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    if ratios[slowest] > SLOWER:
        text = f"{ratios[slowest]:.0f} times as long as on the slowest known device, {slowest}"
        return [Finding("unit", f"the operators take {text}: are the times milliseconds?")]
    if ratios[quickest] < 1 / QUICKER:
        text = f"{1 / ratios[quickest]:.0f} times quicker than on the quickest known, {quickest}"
        return [Finding("unit", f"the operators are {text}: are the times in a larger unit?")]
    return []


def _against_each_other(rows: Sequence[Row]) -> list[Finding]:
    """Rows 1000x off a plain non-negative fit of the others; the fewer are the wrong ones."""
    if len(rows) < _FEWEST:
        return []
    ops = operator_features([row.key for row in rows], (1, 1))
    truth = np.array([row.seconds for row in rows])
    work = np.stack([np.ones(len(rows)), ops.size, ops.moved + ops.weights], axis=1)
    scale = np.maximum(work.max(axis=0), 1.0)
    coefficients = fit_nonnegative(work / scale / truth[:, None], np.ones(len(rows)))
    predicted = np.maximum(work / scale @ coefficients, 1e-12)
    ratio = truth / predicted
    return _listed(rows, ratio / np.median(ratio), "what the other rows lead to expect")


def _listed(rows: Sequence[Row], ratio: Floats, beside: str) -> list[Finding]:
    off = np.flatnonzero((ratio > UNIT_FACTOR) | (ratio < 1 / UNIT_FACTOR)).tolist()
    if not off:
        return []
    many = "most" if len(off) > len(rows) / 2 else f"{len(off)}"
    worst = max(off, key=lambda i: abs(np.log(ratio[i])))
    return [
        Finding(
            "unit",
            f"{many} of {len(rows)} rows are more than {UNIT_FACTOR:.0f}x off {beside}, as if in"
            f" another unit: {short(rows[worst].key)} is {ratio[worst]:.3g}x"
            f" ({rows[worst].seconds:.4g} s)",
        )
    ]


def _impossible(rows: Sequence[Row], seconds: bool) -> list[Finding]:
    rates = ((row.key, row.key.macs / row.seconds) for row in rows if seconds)
    return [
        Finding("impossible", f"{short(key)} runs {rate:.2g} MACs a second")
        for key, rate in rates
        if rate > _MOST_RATE
    ]


def _noise(rows: Sequence[Row], seconds: bool) -> list[Finding]:
    found = []
    for row in rows:
        if seconds and row.seconds <= NOTHING:
            found.append(f"{short(row.key)} takes no time that can be measured")
        elif row.spread > 1.0:
            found.append(f"{short(row.key)} has a spread of {100 * row.spread:.0f} %")
    return [Finding("noise", text) for text in found]


def _order(rows: Sequence[Row]) -> list[Finding]:
    """More work at clearly less time, worst first: one line for each that is too quick."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(_kind(row.key), []).append(row)
    worst: list[tuple[float, Row, Row]] = []
    for group in groups.values():
        step = -(-len(group) // _COMPARED)
        worst += _too_quick(group[::step])
    worst.sort(key=lambda item: item[0])
    return [
        Finding(
            "order",
            f"{short(large.key)} takes {ratio:.2f} of the time of the smaller {short(small.key)}",
        )
        for ratio, large, small in worst
    ]


def _boards(header: TableHeader, rows: Sequence[Row]) -> list[Finding]:
    """Boards that disagree by more than their spread, and those that nobody compared."""
    counts = Counter(row.board for row in rows)
    found = [
        f"{one}; {counts[one.board]} and {counts[one.beside]} of {len(rows)} rows are theirs"
        for one in header.boards
        if one.clear
    ]
    named = sorted(name for name in counts if name)
    together = {named[0]} if named else set[str]()
    for one in header.boards * len(header.boards):  # what is compared with what is compared
        if one.pair & together:
            together |= one.pair
    alone = [name for name in named if name not in together]
    if alone:
        beside = ", ".join(name for name in named if name in together)
        found.append(f"rows of {', '.join(alone)} were never compared with rows of {beside}")
    return [Finding("boards", text) for text in found]


def _kind(key: OpKey) -> tuple[object, ...]:
    depthwise = key.groups == key.in_channels and key.groups > 1
    groups = 0 if depthwise else key.groups
    window = (key.kernel, key.stride, key.dilation, len(key.in_size), len(key.out_size))
    return (key.op, *window, groups, key.detail, key.precision)


def _too_quick(rows: Sequence[Row]) -> list[tuple[float, Row, Row]]:
    sizes = np.array(
        [
            (key.in_channels, key.out_channels, *key.in_size, *key.out_size)
            for key in (row.key for row in rows)
        ]
    )
    seconds = np.array([row.seconds for row in rows])
    spread = np.nan_to_num(np.array([row.spread for row in rows]))
    most, least = seconds * (1 + 2 * spread), seconds * np.maximum(0.0, 1 - 2 * spread)
    found = []
    for place in range(len(rows)):
        smaller = (sizes <= sizes[place]).all(axis=1) & (sizes < sizes[place]).any(axis=1)
        clear = smaller & (most[place] < _CLEARLY * least)
        if clear.any():
            other = int(np.argmax(np.where(clear, seconds, 0.0)))
            found.append((float(seconds[place] / seconds[other]), rows[place], rows[other]))
    return found
