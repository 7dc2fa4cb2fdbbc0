"""A latency table's rows: one measured operator each, as a value and as a line of JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from automl.documents import parse_json, shown
from automl.errors import TableError, nearest
from automl.latency.keys import SOURCES, OpKey, Source
from automl.network import CONVOLUTIONS, OPERATORS, RECURRENT


@dataclass(frozen=True, slots=True)
class Row:
    """An operator and what it cost.

    Attributes:
        key: The operator.
        seconds: Median time; cycles in a table whose unit is cycles.
        spread: Relative half-width of the uncertainty of `seconds`; NaN where not known.
        runs: Executions behind it; 0 where not known.
        source: How the value came about.
        joules: Energy of one execution, NaN where not known.
        origin: Where a value that we did not measure was published.
        board: Which of several boards measured it; "" where there was one.
        slower: By how much the machine was slower than at first when it was measured, relative;
            it is in `spread` as well. Such a row is measured again when the machine is quiet.
    """

    key: OpKey
    seconds: float
    spread: float = math.nan
    runs: int = 0
    source: Source = "measured"
    joules: float = math.nan
    origin: str = ""
    board: str = ""
    slower: float = 0.0


_EXTENTS: Final = ("kernel", "stride", "padding", "dilation", "in_size", "out_size")
_KEY_FIELDS: Final = tuple(field.name for field in fields(OpKey))
_DEFAULTS: Final = {field.name: field.default for field in fields(OpKey)[3:]}
_VALUES: Final = ("spread", "runs", "source", "joules", "origin", "board", "slower")
_MOST: Final = 10**15  # of a whole number: what is computed from several still fits a float
#: Times and energies that can be: what is computed from several still fits a float.
_TINIEST, _LARGEST = 1e-18, 1e18
_HIDDEN: Final = re.compile(r"[1-9][0-9]{0,14}", re.ASCII)
_LONGEST: Final = 1 << 16  # characters of a row
_TRIED: Final = 10_000  # divisors, for a message
_KNOWN: Final = frozenset((*_KEY_FIELDS, *_VALUES))


def row_line(row: Row, unit: str = "seconds") -> str:
    """A row as one line of JSON without its line end; fields at their default are left out."""
    line: dict[str, object] = {}
    for name in _KEY_FIELDS:
        value = getattr(row.key, name)
        if name not in _DEFAULTS or value != _DEFAULTS[name]:
            line[name] = value
    line[unit] = row.seconds
    if not math.isnan(row.spread):
        line["spread"] = round(row.spread, 6)
    if row.runs:
        line["runs"] = row.runs
    line["source"] = row.source
    if not math.isnan(row.joules):
        line["joules"] = row.joules
    if row.origin:
        line["origin"] = row.origin
    if row.board:
        line["board"] = row.board
    if row.slower:
        line["slower"] = round(row.slower, 6)
    return json.dumps(line, separators=(",", ":"))


def parse_row(text: str, unit: str, where: str) -> Row:
    """A row from its line.

    Args:
        text: JSON text.
        unit: Name of the field that holds the time.
        where: File and line, for messages.

    Raises:
        TableError: If the line is no row, or holds what cannot be.
    """
    if len(text) > _LONGEST:
        raise TableError(f"{where}: a row has at most {_LONGEST:,} characters, not {len(text):,}")
    found = parse_json(text, where, TableError)
    if not isinstance(found, dict):
        raise TableError(f"{where}: a row is a JSON object, not {type(found).__name__}")
    unknown = found.keys() - _KNOWN
    unknown.discard(unit)
    if unit not in found:
        raise TableError(f"{where}: no {unit!r}, the field of the time in this table{_hint(found)}")
    if unknown:
        name = min(unknown)
        raise TableError(f"{where}: unknown field {shown(name)}{nearest(name, _KNOWN)}")
    source = found.get("source", "measured")
    if not isinstance(source, str) or source not in SOURCES:
        raise TableError(f"{where}: source {shown(source)}{nearest(str(source), SOURCES)}")
    return Row(
        _key(found, where),
        _number(found, unit, where, zero=False),
        _number(found, "spread", where),
        _whole(found, "runs", where, least=0) if "runs" in found else 0,
        source,
        _number(found, "joules", where),
        _text(found, "origin", where),
        _text(found, "board", where),
        _number(found, "slower", where) if "slower" in found else 0.0,
    )


def _hint(found: Mapping[str, Any]) -> str:
    names = [name for name in found if name not in _KNOWN]
    return f": found {', '.join(map(shown, names[:4]))}" if names else ""


def parse_key(found: object, where: str) -> OpKey:
    """An operator from the values of its fields.

    Args:
        found: As JSON has them.
        where: What they are, for messages.

    Raises:
        TableError: They are no operator's; the first field is named.
    """
    if not isinstance(found, dict):
        raise TableError(f"{where}: an operator is a JSON object, not {shown(found)}")
    for name in found:
        if name not in _KEY_FIELDS:
            raise TableError(f"{where}: unknown field {shown(name)}{nearest(name, _KEY_FIELDS)}")
    return _key(found, where)


def _key(found: Mapping[str, Any], where: str) -> OpKey:
    op = found.get("op")
    if not isinstance(op, str) or op not in OPERATORS:
        raise TableError(f"{where}: unknown operator {shown(op)}{nearest(str(op), OPERATORS)}")
    values: dict[str, Any] = {"op": op}
    for name in ("in_channels", "out_channels"):
        values[name] = _whole(found, name, where)
    for name in ("groups", "batch"):
        if name in found:
            values[name] = _whole(found, name, where)
    for name in _EXTENTS:
        if name in found:
            values[name] = _extent(found[name], name, where)
    for name in ("detail", "precision"):
        if name in found:
            values[name] = _text(found, name, where)
    hidden = values.get("detail", "")
    if op in RECURRENT and hidden and not _HIDDEN.fullmatch(hidden):
        raise TableError(f"{where}: detail {shown(hidden)} is not the hidden channels of an {op}")
    groups = values.get("groups", 1)
    for name in ("in_channels", "out_channels") if op in CONVOLUTIONS else ():
        if values[name] % groups:
            raise TableError(
                f"{where}: groups {groups} do not divide {name} {values[name]}; the nearest that"
                f" do are {_divisor(groups, values[name])}"
            )
    key = OpKey(**values)
    if op in CONVOLUTIONS:
        _check_sizes(key, where)
    return key


def _check_sizes(key: OpKey, where: str) -> None:
    """Check that what a convolution writes follows from what it reads.

    Raises:
        TableError: It does not; says what does.
    """
    dims = 3 if "3d" in key.op else 2
    for name in _EXTENTS:
        found = list(getattr(key, name))
        if len(found) != dims:
            raise TableError(
                f"{where}: {name} {found} has {len(found)} numbers, that of a {key.op} has {dims}"
            )
    written = [_written(key, axis) for axis in range(dims)]
    if all(size in sizes for size, sizes in zip(key.out_size, written, strict=True)):
        return
    if not all(written):
        raise TableError(
            f"{where}: kernel {list(key.kernel)} is larger than in_size {list(key.in_size)} with"
            f" padding {list(key.padding)}"
        )
    raise TableError(
        f"{where}: out_size {list(key.out_size)} does not follow from in_size"
        f" {list(key.in_size)}: a {key.op} of that kernel, stride, padding and dilation writes"
        f" {[sizes[0] for sizes in written]}"
    )


def _written(key: OpKey, axis: int) -> range:
    """What a convolution may write along an axis.

    Of a transposed one the padding of its output decides. Another may have one zero more behind
    than before: even kernels that write as much as they read do.
    """
    stride, dilation = key.stride[axis], key.dilation[axis]
    reach = dilation * (key.kernel[axis] - 1) + 1
    if "transpose" in key.op:
        least = (key.in_size[axis] - 1) * stride + reach - 2 * key.padding[axis]
        return range(max(1, least), max(1, least + max(stride, dilation)))
    left = key.in_size[axis] + 2 * key.padding[axis] - reach
    return range(max(1, left // stride + 1), max(1, (left + 1) // stride + 2))


def _divisor(groups: int, channels: int) -> int:
    """The largest number up to `groups` that divides the channels."""
    most = min(groups, channels)
    return next((each for each in range(most, max(most - _TRIED, 0), -1) if not channels % each), 1)


def _whole(found: Mapping[str, Any], name: str, where: str, least: int = 1) -> int:
    value = found.get(name)
    if type(value) is not int or value < least:
        raise TableError(
            f"{where}: {name} {shown(value)} is not a whole number of at least {least}"
        )
    if value > _MOST:
        raise TableError(f"{where}: {name} {shown(value)} is over {_MOST}")
    return value


def _extent(value: Any, name: str, where: str) -> tuple[int, ...]:
    least = 0 if name == "padding" else 1
    if isinstance(value, list) and len(value) in (2, 3):
        whole = all(type(each) is int for each in value)
        if whole and least <= min(value) and max(value) <= _MOST:
            return tuple(value)
    raise TableError(
        f"{where}: {name} {shown(value)} is not [height, width] or [depth, height, width]"
        f" from {least} to {_MOST}"
    )


def _text(found: Mapping[str, Any], name: str, where: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str):
        raise TableError(f"{where}: {name} {shown(value)} is not a text")
    return value


def _number(found: Mapping[str, Any], name: str, where: str, *, zero: bool = True) -> float:
    if name not in found:
        return math.nan
    value = found[name]
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise TableError(f"{where}: {name} {shown(value)} is not a finite number of at least 0")
    if value == 0 and not zero:
        raise TableError(f"{where}: {name} is 0, which no operator takes")
    if value and not _TINIEST <= value <= _LARGEST:
        raise TableError(f"{where}: {name} {value} is not from {_TINIEST} to {_LARGEST}")
    return float(value)
