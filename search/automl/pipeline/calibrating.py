"""Tables without measuring operators: fitted to whole networks' times, or read from profiles."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from automl.documents import read_text, shown
from automl.errors import TableError, UsageError, nearest
from automl.latency import (
    FewShot,
    FittedOverhead,
    KnownError,
    LatencyTable,
    OpKey,
    Roofline,
    TableHeader,
    few_shot,
    find_table,
    load_predictor,
    op_key,
)
from automl.network import trace_network
from automl.pipeline.pricing import describe, float_precision
from automl.pipeline.requests import NetworkTime, ProfileRequest, ProfileResult
from automl.pipeline.runners import own_table, table_path
from automl.policy import bits_of
from automl.profiling import ImportResult, import_profile, runtime_of_table
from automl.userdata import load_model

_COLUMNS: Final = ("model", "latency_ms")
_OPTIONAL: Final = ("input_shape", "precision")
_SHOWN: Final = 10
_TIMINGS_BYTES: Final = 1 << 20
#: Times that a network can take.
_LEAST_SECONDS, _MOST_SECONDS = 1e-9, 1e6

ReadOperators = Callable[[Path], list[OpKey]]


@dataclass(frozen=True, slots=True)
class _TimedNetwork:
    """A line of the CSV file."""

    name: str
    keys: list[OpKey]
    seconds: float


def calibrate(request: ProfileRequest, read_operators: ReadOperators) -> ProfileResult:
    """Fit a new table to a few whole networks' times, starting from a known device's predictor.

    Raises:
        UsageError: No known device, or a CSV file that cannot be read; file and line are named.
        TableError: The known device has no predictor, or the target has rows already.
    """
    assert request.calibrate is not None
    if request.like is None:
        raise UsageError("calibrating starts from a known device: name one", options=("like",))
    known = find_table(request.like)
    if known.header.coefficients is None:
        raise TableError(f"table {known.name!r} has no fitted predictor to start from")
    table = own_table(request.target)
    if table is not None and len(table):
        raise TableError(f"{table.path}: holds measured rows; calibrate a table of another name")
    precision = float_precision(known)
    timed = list(_read_timings(request.calibrate, precision, read_operators))
    like = load_predictor(known.header.coefficients)
    found = few_shot([(one.keys, one.seconds) for one in timed], like)
    header = _header(request, known, found, len(timed))
    if table is None:
        table = LatencyTable.create(table_path(request.target), header)
    else:
        table.set_header(header)
    assert table.path is not None
    assert header.known_error is not None
    return ProfileResult(
        target=describe(table, float_precision(table), header.known_error.relative),
        table_path=table.path,
        asked=0,
        known=0,
        measured=0,
        notes=("all prices are fitted: nothing of this table was measured operator by operator",),
        networks=tuple(_networks(timed, like)),
        error=header.known_error.relative,
    )


def _networks(timed: list[_TimedNetwork], like: Roofline) -> Iterator[NetworkTime]:
    """Each network predicted from a fit to the others of its precision; none where it is alone."""
    for one in timed:
        precision = one.keys[0].precision
        others = [
            (other.keys, other.seconds)
            for other in timed
            if other is not one and other.keys[0].precision == precision
        ]
        if not others:
            continue
        fitted = few_shot(others, like).predictor
        seconds, _ = fitted.predict(one.keys)
        yield NetworkTime(one.name, float(seconds.sum()) + fitted.constant(precision), one.seconds)


def _header(
    request: ProfileRequest, known: LatencyTable, found: FewShot, timings: int
) -> TableHeader:
    assert request.calibrate is not None
    precisions = tuple(found.predictor.units)
    worst = max(found.errors, key=lambda name: found.errors[name])
    error, count = found.errors[worst], found.timings[worst]
    on = (
        f"{count} timed {worst} networks, each left out of the fit"
        if count > 1
        else f"nothing: one timing; twice the known error of {known.name}"
    )
    first = "fp32" if "fp32" in precisions else precisions[0]
    return TableHeader(
        name=table_path(request.target).stem,
        device=request.target,
        runtime=request.runtime,
        threads=None if runtime_of_table(request.runtime).gpu else request.threads,
        precisions=precisions,
        provenance=(
            f"fitted, not measured: {timings} whole networks' times of {request.calibrate.name},"
            f" with the balance of {known.name}"
        ),
        overhead=FittedOverhead(
            scale=1.0,
            seconds_per_operator=0.0,
            seconds_per_call=float(f"{found.predictor.constant(first):.6g}"),
            networks=found.timings[first],
            error=round(found.errors[first], 4),
        ),
        coefficients=found.predictor.coefficients(),
        known_error=KnownError(
            relative=round(error, 4),
            on=on,
            by_precision={name: round(each, 4) for name, each in found.errors.items()},
        ),
    )


def _read_timings(
    path: Path, precision: str, read_operators: ReadOperators
) -> Iterator[_TimedNetwork]:
    text = read_text(path, UsageError, "timings", most=_TIMINGS_BYTES)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = tuple(reader.fieldnames or ())
        lines = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise UsageError(f"timings {path}: {error}") from None
    for name in _COLUMNS:
        if name not in columns:
            raise UsageError(f"timings {path}: no column {name!r}{nearest(name, columns)}")
    for name in columns:
        if name not in (*_COLUMNS, *_OPTIONAL):
            raise UsageError(
                f"timings {path}: unknown column {shown(name)}"
                f"{nearest(name, (*_COLUMNS, *_OPTIONAL))}"
            )
    if not lines:
        raise UsageError(f"timings {path}: no networks")
    for number, line in lines:
        yield _timed(line, f"timings {path}:{number}", precision, read_operators)


def _timed(
    line: dict[str, str | None], where: str, precision: str, read_operators: ReadOperators
) -> _TimedNetwork:
    spec, text = line["model"] or "", line["latency_ms"] or ""
    try:
        seconds = float(text) / 1e3
    except ValueError:
        seconds = math.nan
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise UsageError(
            f"{where}: latency_ms {shown(text)} is not a positive number that a network can take"
        )
    precision = line.get("precision") or precision
    _check_precision(precision, where)
    if spec.endswith(".json"):
        keys = read_operators(Path(spec))
        if not keys:
            raise UsageError(f"{where}: {spec} has no operators")
        return _TimedNetwork(spec, keys, seconds)
    shape = line.get("input_shape") or "3x224x224"
    sizes = shape.split("x")
    if not all(re.fullmatch(r"[1-9][0-9]{0,5}", size) for size in sizes):
        raise UsageError(f"{where}: input_shape {shown(shape)} is not understood: write 3x224x224")
    if None in line:
        raise UsageError(f"{where}: more values than columns")
    network = trace_network(
        load_model(spec), (1, *(int(size) for size in sizes)), resolutions=()
    ).network
    return _TimedNetwork(spec, [op_key(layer, precision) for layer in network.layers], seconds)


def _check_precision(precision: str, where: str) -> None:
    try:
        bits_of(precision)
    except TableError as error:
        raise UsageError(f"{where}: {error}") from None


def import_rows(request: ProfileRequest) -> ProfileResult:
    """Read somebody's profile of the model into rows of the target's table.

    Raises:
        UsageError: No model, or a profile that cannot be read.
        TableError: The target's table is of another runtime or in another unit.
    """
    assert request.profile is not None
    if request.model is None:
        raise UsageError(
            "a profile can be read only with the model that was profiled: name that model",
            options=("profile", "model"),
        )
    network = trace_network(request.model, request.input_shape, resolutions=()).network
    found = import_profile(
        request.profile, request.layer_info, network, precision=request.precision
    )
    table = own_table(request.target)
    if table is None:
        table = LatencyTable.create(table_path(request.target), _imported_header(request, found))
    elif (table.header.runtime, table.header.unit) != (found.runtime, "seconds"):
        raise TableError(
            f"{table.path}: holds rows of {table.header.runtime} in {table.header.unit}, this is a"
            f" profile of {found.runtime}: they do not mix"
        )
    new = [row for row in found.rows if row.key not in table]
    table.append(new)
    assert table.path is not None
    precision = found.rows[0].key.precision if found.rows else float_precision(table)
    keys = list(dict.fromkeys(op_key(layer, precision) for layer in network.layers))
    return ProfileResult(
        target=describe(table, float_precision(table), None),
        table_path=table.path,
        asked=len(keys),
        known=len(found.rows) - len(new),
        measured=len(new),
        notes=_import_notes(request.profile.name, found),
    )


def _imported_header(request: ProfileRequest, found: ImportResult) -> TableHeader:
    assert request.profile is not None
    return TableHeader(
        name=table_path(request.target).stem,
        device=request.target,
        runtime=found.runtime,
        precisions=tuple(dict.fromkeys(row.key.precision for row in found.rows)) or ("fp32",),
        provenance=f"read from the profile {request.profile.name}, measured by others",
    )


def _import_notes(name: str, found: ImportResult) -> tuple[str, ...]:
    notes = [f"{100 * found.matched_share:.0f} % of the time in {name} is that of operators"]
    for line in found.unmatched[:_SHOWN]:
        notes.append(f"not matched: {100 * line.share:.1f} % {line.name}: {line.reason}")
    if len(found.unmatched) > _SHOWN:
        rest = sum(line.share for line in found.unmatched[_SHOWN:])
        more = len(found.unmatched) - _SHOWN
        notes.append(f"not matched: {100 * rest:.1f} % {more} more lines")
    return (*notes, *found.warnings, *found.notes)
