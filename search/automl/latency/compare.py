"""Two tables beside each other: merged where they are of one device, or how far they disagree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from automl.errors import TableError
from automl.latency.header import TableHeader
from automl.latency.keys import SOURCES, OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable

Side = Literal["first", "second"]

#: Header fields that must agree before rows may stand in one table.
CONDITIONS: Final = (
    "device",
    "soc",
    "runtime",
    "runtime_version",
    "threads",
    "scheme",
    "unit",
    "clocks",
    "power_mode",
    "conditions",
)
_SHOWN: Final = 5
_DEVIATIONS: Final = 3  # a spread is one standard deviation


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One operator that two tables price differently.

    Attributes:
        key: The operator.
        first, second: Its time in either table, in the tables' unit.
        ratio: second / first.
        clear: Whether the difference is three times both uncertainties together or more.
        sources: How either value came about.
    """

    key: OpKey
    first: float
    second: float
    ratio: float
    clear: bool
    sources: tuple[str, str]


@dataclass(frozen=True, slots=True)
class OperatorRatio:
    """Second table over first table, per type of operator: how many, and the median ratio."""

    op: str
    precision: str
    shared: int
    median: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where two tables agree and where not.

    Attributes:
        conditions: Header fields that differ: name, first's value, second's value.
        shared: Operators that both can price.
        only_first, only_second: Rows for which the other table has no price at all.
        clear: Shared operators whose difference is three times both uncertainties or more.
        median, least, most: Ratio second / first over the shared; NaN where there is none.
        by_op: The same per type of operator, most frequent first.
        worst: The clear disagreements by their size, then the others.
        ordinary: Whether ordinary operators were compared, for want of rows in both tables.
    """

    conditions: tuple[tuple[str, str, str], ...]
    shared: int
    only_first: int
    only_second: int
    clear: int
    median: float
    least: float
    most: float
    by_op: tuple[OperatorRatio, ...]
    worst: tuple[Disagreement, ...]
    ordinary: bool


def differing_conditions(
    first: TableHeader, second: TableHeader
) -> tuple[tuple[str, str, str], ...]:
    """Header fields that keep two tables apart: name, first's value, second's value."""
    pairs = [(name, getattr(first, name), getattr(second, name)) for name in CONDITIONS]
    return tuple((name, _text(a), _text(b)) for name, a, b in pairs if a != b)


def merge(
    first: LatencyTable, second: LatencyTable, *, prefer: Side | None = None
) -> tuple[TableHeader, tuple[Row, ...]]:
    """One table's worth of header and rows from two of the same device and conditions.

    The header is that of the preferred table (the first, where none is) with the names and
    precisions of both, and the other's coefficients, overhead or error where it has none.

    Args:
        first, second: The tables.
        prefer: Whose row is taken where both have an operator with different times.

    Raises:
        TableError: If device, runtime, unit or conditions differ, or rows disagree and none is
            preferred; what differs is named with both values.
    """
    apart = differing_conditions(first.header, second.header)
    if apart:
        said = "; ".join(f"{name} {a} and {b}" for name, a, b in apart)
        raise TableError(
            f"tables {first.name!r} and {second.name!r} were not made under the same conditions"
            f" and do not merge: {said}"
        )
    leading, other = (second, first) if prefer == "second" else (first, second)
    if prefer is None:
        _refuse_disagreeing(first, second)
    rows = {row.key: row for row in (*other.rows, *leading.rows)}
    order = dict.fromkeys(row.key for row in (*first.rows, *second.rows))
    return _merged_header(leading.header, other.header), tuple(rows[key] for key in order)


def compare_tables(
    first: LatencyTable,
    second: LatencyTable,
    keys: Sequence[OpKey] | None = None,
    *,
    worst: int = 10,
) -> Comparison:
    """Compare the times of two tables.

    Args:
        first, second: The tables.
        keys: What is compared; None for the rows of both, or for ordinary operators where
            neither has rows.
        worst: So many of the largest disagreements are listed.

    Raises:
        TableError: If the tables' units differ.
    """
    if first.header.unit != second.header.unit:
        raise TableError(
            f"table {first.name!r} is in {first.header.unit}, {second.name!r} in"
            f" {second.header.unit}: they cannot be compared"
        )
    ordinary = keys is None and not len(first) and not len(second)
    asked = tuple(dict.fromkeys(_keys(first, second) if keys is None else keys))
    a, b = first.lookup(asked), second.lookup(asked)
    has_a, has_b = np.isfinite(a.seconds), np.isfinite(b.seconds)
    both = np.flatnonzero(has_a & has_b)
    ratio = b.seconds[both] / a.seconds[both]
    noise = np.hypot(np.nan_to_num(a.spread[both]), np.nan_to_num(b.spread[both]))
    clear = np.abs(np.log(ratio)) > np.log1p(_DEVIATIONS * noise)
    pairs = [
        Disagreement(
            asked[i],
            float(a.seconds[i]),
            float(b.seconds[i]),
            float(ratio[place]),
            bool(clear[place]),
            (SOURCES[a.source[i]], SOURCES[b.source[i]]),
        )
        for place, i in enumerate(both.tolist())
    ]
    apart = sorted(pairs, key=lambda one: (not one.clear, -abs(math.log(one.ratio))))[:worst]
    return Comparison(
        differing_conditions(first.header, second.header),
        len(both),
        int((has_a & ~has_b).sum()),
        int((has_b & ~has_a).sum()),
        int(clear.sum()),
        *(_summary(ratio)),
        _by_op(pairs),
        tuple(one for one in apart if one.ratio != 1.0),
        ordinary,
    )


def _keys(first: LatencyTable, second: LatencyTable) -> list[OpKey]:
    """Operators of the rows of both, or ordinary ones for tables that are fitted."""
    if len(first) or len(second):
        return [row.key for row in (*first.rows, *second.rows)]
    precisions = [p for p in first.header.precisions if p in second.header.precisions]
    return [key for precision in precisions for key in _ordinary(precision)]


def _ordinary(precision: str) -> list[OpKey]:
    """Convolutions as networks have them."""
    found = []
    for width, size in itertools.product((16, 32, 64, 128, 256, 512), (7, 14, 28, 56, 112)):
        square = (size, size)
        point = OpKey("conv2d", width, width, in_size=square, out_size=square, precision=precision)
        spatial = replace(point, kernel=(3, 3), padding=(1, 1))
        found += [point, spatial, replace(spatial, op="depthwise_conv2d", groups=width)]
    return found


def _summary(ratios: NDArray[np.float64]) -> tuple[float, float, float]:
    if not len(ratios):
        return math.nan, math.nan, math.nan
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def _by_op(pairs: Sequence[Disagreement]) -> tuple[OperatorRatio, ...]:
    groups: dict[tuple[str, str], list[float]] = {}
    for pair in pairs:
        groups.setdefault((pair.key.op, pair.key.precision), []).append(pair.ratio)
    found = [
        OperatorRatio(op, precision, len(values), float(np.median(values)))
        for (op, precision), values in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.shared))


def _refuse_disagreeing(first: LatencyTable, second: LatencyTable) -> None:
    apart = [
        (row, other)
        for row in first.rows
        if (other := second.row(row.key)) is not None and other.seconds != row.seconds
    ]
    if not apart:
        return
    unit = first.header.unit
    shown = "; ".join(
        f"{short(row.key)}: {row.seconds:.4g} and {other.seconds:.4g} {unit}"
        for row, other in apart[:_SHOWN]
    )
    more = f"; and {len(apart) - _SHOWN} more" if len(apart) > _SHOWN else ""
    raise TableError(
        f"{len(apart)} operators have different times in {first.name!r} and {second.name!r}:"
        f" {shown}{more}; say which to take, first or second",
        options=("prefer",),
    )


def _merged_header(leading: TableHeader, other: TableHeader) -> TableHeader:
    aliases = _union(leading.aliases, (other.name, *other.aliases))
    return leading.model_copy(
        update={
            "aliases": tuple(name for name in aliases if name != leading.name),
            "precisions": _union(leading.precisions, other.precisions),
            "provenance": "; ".join(_union((leading.provenance,), (other.provenance,))),
            "overhead": leading.overhead or other.overhead,
            "coefficients": leading.coefficients or other.coefficients,
            "known_error": leading.known_error or other.known_error,
            "saturates": other.saturates if leading.saturates is None else leading.saturates,
            "exact_cost": leading.exact_cost or other.exact_cost,
            "boards": (
                *leading.boards,
                *(
                    one
                    for one in other.boards
                    if one.pair not in {own.pair for own in leading.boards}
                ),
            ),
        }
    )


def _union(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in (*first, *second) if name))


def _text(value: object) -> str:
    return "not noted" if value in ("", None) else repr(value)


def short(key: OpKey) -> str:
    """An operator in a few words: "conv2d 16>32 k3 s2 g4 @56x56 int8"."""
    words = [key.op, f"{key.in_channels}>{key.out_channels}"]
    if max(key.kernel) > 1:
        words.append(f"k{_short(key.kernel)}")
    if max(key.stride) > 1:
        words.append(f"s{_short(key.stride)}")
    if key.groups not in (1, key.in_channels):
        words.append(f"g{key.groups}")
    if max(key.in_size) > 1:
        words.append(f"@{'x'.join(map(str, key.in_size))}")
    if key.batch > 1:
        words.append(f"b{key.batch}")
    words += [word for word in (key.detail, key.precision) if word]
    return " ".join(words)


def _short(extent: tuple[int, ...]) -> str:
    return "x".join(map(str, extent if len({*extent}) > 1 else extent[:1]))
