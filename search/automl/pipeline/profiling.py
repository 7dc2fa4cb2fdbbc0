"""Measuring what a search over a model will ask for."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from automl.cost import required_keys
from automl.errors import TableError, TargetError, UsageError
from automl.latency.keys import OpKey
from automl.latency.table import LatencyTable
from automl.latency.targets import cpu_table, find_table
from automl.network.read import read_network
from automl.pipeline.granularity import learn_granularity, probe_keys
from automl.pipeline.pricing import describe, float_precision
from automl.profiling.profile import ProfileReport
from automl.profiling.profile import profile as measure
from automl.profiling.runner import LocalRunner
from automl.requests import Event, OnEvent, ProfileRequest, ProfileResult, ignore
from automl.space import build_space


def profile(request: ProfileRequest, on_event: OnEvent = ignore) -> ProfileResult:
    """Measure the operators that the target's table lacks; only this machine can be measured.

    Raises:
        TargetError: The target is not this machine.
        UsageError: The file of operators cannot be read.
    """
    table = find_table(request.target, threads=request.threads)
    if table.path != cpu_table(request.threads).path:
        raise TargetError(f"{table.name} is not this machine: profile it there, as target cpu")
    assert table.path is not None
    known = len(table)
    if request.ops is not None:
        keys = read_operators(request.ops)
        reports = [_measure(table, keys, request, on_event)]
    else:
        keys, reports = _for_model(table, request, on_event)
    refused = {key: why for report in reports for key, why in report.refused.items()}
    measured = sum(report.measured for report in reports)
    asked = len(set(keys))
    doubtful = sum(report.doubtful for report in reports)
    notes = [f"{doubtful} rows were measured on a busy machine: doubtful"] if doubtful else []
    assert known <= len(table)
    return ProfileResult(
        target=describe(table, float_precision(table), None),
        table_path=table.path,
        asked=asked,
        known=asked - len(refused) - min(measured, asked),
        measured=measured,
        refused=tuple(f"{key.op} {key}: {why}" for key, why in refused.items()),
        notes=tuple(notes),
    )


def read_operators(path: Path) -> list[OpKey]:
    """Operators from a JSON list of objects with the fields of `OpKey`.

    Raises:
        UsageError: No such file, not JSON, or an object that is no operator.
    """
    try:
        return TypeAdapter(list[OpKey]).validate_python(json.loads(path.read_text("utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise UsageError(f"operators {path}: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise UsageError(f"operators {path}: {key}: {fault['msg']}") from error


def _for_model(
    table: LatencyTable, request: ProfileRequest, on_event: OnEvent
) -> tuple[list[OpKey], list[ProfileReport]]:
    if request.model is None:
        raise UsageError("profile needs --model or --ops")
    precision = float_precision(table)
    reading = read_network(request.model, request.input_shape, resolutions=request.resolutions)
    network, probes, reports = reading.network, list[OpKey](), list[ProfileReport]()
    steps: int | dict[str, int] | None = request.round_to
    if steps is None:
        probes = probe_keys(network, precision)
        reports.append(_measure(table, probes, request, on_event))
        steps = learn_granularity(network, table, precision)
    space = build_space(
        network, round_to=steps, resolutions=request.resolutions, depth=request.depth
    )
    keys = required_keys(network, space, precision=precision)
    reports.append(_measure(table, keys, request, on_event))
    return [*probes, *keys], reports


def _measure(
    table: LatencyTable, keys: list[OpKey], request: ProfileRequest, on_event: OnEvent
) -> ProfileReport:
    if not table.lacks(keys):
        return ProfileReport()
    try:
        with LocalRunner(threads=request.threads) as runner:
            return measure(
                table,
                keys,
                runner,
                progress=lambda done, total, _: on_event(Event("measuring", done, total)),
            )
    except TableError as error:
        raise TableError(f"{table.path}: {error}") from error
