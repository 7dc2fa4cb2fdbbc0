"""Fill a latency table: what it lacks is measured, batch after batch, and kept as it comes in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from automl.errors import MeasureError, TableError
from automl.latency import LatencyTable, OpKey, Row
from automl.profiling.device import disturbed, slowed
from automl.profiling.microbench import probe
from automl.profiling.runner import Limits, Measurement, Probe, Runner
from automl.profiling.runtimes import Runtime, find_runtime

#: Called with what is done and what was asked for, after every row.
Progress = Callable[[int, int, Row], None]

_ANCHOR_LIMITS: Final = Limits(spread=0.01, seconds=0.2, min_passes=7, max_passes=15)
_ANCHOR_TRIES: Final = 4
_DRIFT: Final = 0.05  # how much slower the anchor may be
_BATCH_BYTES: Final = 200e6
_KEY_SECONDS: Final = 0.25  # what one key may take when there is no cap


@dataclass(slots=True)
class ProfileReport:
    """What a profile came to.

    Attributes:
        measured: Rows that were added.
        refused: Operators that the runtime or we cannot run, and why.
        left: Keys that were not measured because the time was up.
        doubtful: Rows measured while the machine was slower than at the start.
        stolen: Largest share of a batch's time in which others took the core.
        warnings: What disturbed the machine, each once.
        seconds: Time that it took.
    """

    measured: int = 0
    refused: dict[OpKey, str] = field(default_factory=dict)
    left: tuple[OpKey, ...] = ()
    doubtful: int = 0
    stolen: float = 0.0
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """A whole network's time.

    Attributes:
        seconds: Median.
        spread: Relative half-width of its 68 % interval.
        runs: Executions that it rests on.
    """

    seconds: float
    spread: float
    runs: int


def profile(
    table: LatencyTable,
    keys: Sequence[OpKey],
    runner: Runner,
    *,
    progress: Progress | None = None,
    spread: float = 0.03,
    seconds_cap: float = math.inf,
) -> ProfileReport:
    """Measure the keys that the table has no row for, and append the rows as they finish.

    A KeyboardInterrupt passes through; what was finished is in the table and on disk by then.

    Args:
        table: Gains the rows.
        keys: What must be priced.
        runner: The device.
        progress: Called after every row.
        spread: Relative half-width of a median's 68 % interval at which a row is finished.
        seconds_cap: Time for all; rows get less of it, with more spread, when it is short.

    Raises:
        TableError: If the table holds rows of another runtime, version or number of threads, or
            rows measured on another device or with other clocks or in another power mode.
        MeasureError: If the device stops answering.
    """
    settle_conditions(table, runner)
    runtime = find_runtime(runner.info.runtime)
    _settle_scheme(table, keys, runtime)
    start = time.monotonic()
    report = ProfileReport(warnings=_disturbed(runner))
    reference = _reference(table, runner) if table.lacks(keys) else math.nan
    wanted = table.lacks(keys)
    tell = progress or (lambda done, total, row: None)
    done = 0
    for batch in _batches(wanted, runtime, table.header.scheme, report):
        left = seconds_cap - (time.monotonic() - start)
        if left <= 0.0:
            report.left += tuple(key for key, _ in batch)
            continue
        share = min(_KEY_SECONDS, left / (len(wanted) - done))
        done += len(batch)
        batch = [each for each in batch if each[0] not in table]  # others measure beside us
        if not batch:
            continue
        slower = _drift(runner, reference)
        for row in _rows(batch, runner, Limits(spread, share * len(batch)), slower, report):
            if row.key in table:
                continue
            table.append([row])
            report.measured += 1
            tell(report.measured, len(wanted), row)
        report.stolen = max(report.stolen, runner.stolen)
        report.warnings = tuple(dict.fromkeys((*report.warnings, *_slowed(runner))))
    report.seconds = time.monotonic() - start
    return report


def _rows(
    batch: Sequence[tuple[OpKey, Probe]],
    runner: Runner,
    limits: Limits,
    slower: float,
    report: ProfileReport,
) -> Iterator[Row]:
    """The rows of a batch as they finish; what the runtime refuses is reported."""
    for measured in runner.run([models for _, models in batch], limits):
        key = batch[measured.probe][0]
        if measured.error:
            report.refused[key] = f"the runtime refuses it: {measured.error}"
            continue
        report.doubtful += slower > 0.0
        yield _row(key, measured, slower)


def measure_models(
    models: Mapping[str, bytes],
    runner: Runner,
    *,
    spread: float = 0.01,
    seconds_cap: float = 10.0,
) -> dict[str, Timing]:
    """Time whole networks, interleaved.

    Args:
        models: Name to serialised ONNX.
        runner: The device.
        spread: Relative half-width of a median's 68 % interval at which a network is finished.
        seconds_cap: Time for all.

    Raises:
        MeasureError: If the runtime refuses a network, naming it, or stops answering.
    """
    names = list(models)
    limits = Limits(spread, seconds_cap, pass_seconds=0.03, min_passes=9)
    found: dict[str, Timing] = {}
    for measured in runner.run([Probe((models[name],), (1.0,)) for name in names], limits):
        name = names[measured.probe]
        if measured.error:
            raise MeasureError(f"the runtime refuses {name}: {measured.error}")
        found[name] = Timing(measured.seconds, measured.spread, measured.runs)
    return {name: found[name] for name in names}


def settle_conditions(table: LatencyTable, runner: Runner) -> None:
    """Note in the header of a table without rows what measures; hold a table with rows against it.

    Raises:
        TableError: If the table's rows were measured under other conditions, naming them.
    """
    header, info, state = table.header, runner.info, runner.info.conditions
    if not len(table):
        noted: dict[str, object] = {"runtime_version": header.runtime_version or info.version}
        noted["threads"] = header.threads or info.threads
        if state is not None:
            noted.update(device=state.processor, clocks=state.clocks, power_mode=state.power_mode)
        if header.model_copy(update=noted) != header:
            table.set_header(header.model_copy(update=noted))
        header = table.header
    pairs: list[tuple[str, object, object]] = [
        ("runtime", header.runtime, info.runtime),
        ("runtime version", header.runtime_version, info.version),
        ("threads", header.threads, info.threads),
    ]
    if state is not None and len(table):
        pairs.append(("device", header.device, state.processor))
        # tables from before clocks were noted say nothing of them
        pairs += [("clocks", header.clocks, state.clocks)] if header.clocks else []
        pairs += [("power mode", header.power_mode, state.power_mode)] if header.power_mode else []
    for name, held, here in pairs:
        if held != here:
            raise TableError(
                f"table {table.name!r} holds rows measured with {name} {held}, this is {here}:"
                " they do not mix; set it back, or profile into a table of another name"
            )


def _settle_scheme(table: LatencyTable, keys: Sequence[OpKey], runtime: Runtime) -> None:
    """Note the quantization scheme in the header before the first integer row is measured."""
    if table.header.scheme is None and any(key.precision == "int8" for key in keys):
        table.set_header(table.header.model_copy(update={"scheme": runtime.scheme}))


def _disturbed(runner: Runner) -> tuple[str, ...]:
    state = runner.info.conditions
    said = "" if state is None else disturbed(runner.info.threads, runner.info.load, state)
    return (said,) if said else ()


def _slowed(runner: Runner) -> tuple[str, ...]:
    before, now = runner.info.conditions, runner.state
    said = "" if before is None or now is None else slowed(before, now)
    return (said,) if said else ()


def _reference(table: LatencyTable, runner: Runner) -> float:
    """Seconds of the anchor as the table has it; measured first where it does not."""
    key = find_runtime(runner.info.runtime).anchor
    row = table.row(key)
    if row is None:
        tries = [_anchor(runner) for _ in range(_ANCHOR_TRIES)]
        row = _row(key, min(tries, key=lambda measured: measured.seconds), 0.0)
        table.append([row])
        row = table.row(key) or row  # another process was faster
    return row.seconds


def _anchor(runner: Runner) -> Measurement:
    runtime = find_runtime(runner.info.runtime)
    (measured,) = runner.run([probe(runtime.anchor, runtime.name)], _ANCHOR_LIMITS)
    if measured.error:
        raise MeasureError(f"the runtime refuses a plain convolution: {measured.error}")
    return measured


def _drift(runner: Runner, reference: float) -> float:
    """How much slower than at first the device stays, waiting a little; 0 within the tolerance."""
    slower = math.inf
    for attempt in range(_ANCHOR_TRIES):
        time.sleep(0.2 * attempt)
        slower = min(slower, _anchor(runner).seconds / reference - 1.0)
        if slower <= _DRIFT:
            return 0.0
    return slower


def _row(key: OpKey, measured: Measurement, slower: float) -> Row:
    return Row(key, measured.seconds, measured.spread + slower, measured.runs)


def _batches(
    keys: Sequence[OpKey], runtime: Runtime, scheme: str | None, report: ProfileReport
) -> Iterator[list[tuple[OpKey, Probe]]]:
    """Keys with their models, as many at a time as fit; those without models are reported."""
    batch: list[tuple[OpKey, Probe]] = []
    size = 0
    for key in keys:
        try:
            models = probe(key, runtime.name, scheme)
        except MeasureError as error:
            report.refused[key] = str(error)
            continue
        batch.append((key, models))
        size += sum(map(len, models.models))
        if len(batch) >= runtime.batch or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
