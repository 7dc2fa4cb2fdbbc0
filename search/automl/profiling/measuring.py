"""Fill a latency table: what it lacks is measured, batch after batch, and kept as it comes in."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from automl.errors import MeasureError, TableError
from automl.latency import BoardComparison, LatencyTable, OpKey, Row
from automl.profiling.arithmetic import settle_arithmetic
from automl.profiling.boards import Boards, Keyed
from automl.profiling.drift import Drift, row_of
from automl.profiling.microbench import probe
from automl.profiling.pool import PooledRunner
from automl.profiling.runner import Limits, Measurement, Probe, Runner
from automl.profiling.runtimes import Runtime, find_runtime
from automl.profiling.stored_models import OneModel

#: Called with what is done and what was asked for, after every row.
Progress = Callable[[int, int, Row], None]

_BATCH_BYTES: Final = 200e6
_KEY_SECONDS: Final = 0.25  # what one key may take when there is no cap


@dataclass(slots=True)
class ProfileReport:
    """What a profile came to.

    Attributes:
        measured: Rows that were added.
        again: Rows of a machine that was slower, which were replaced now that it was not.
        refused: Operators that the runtime or we cannot run, and why.
        left: Keys that were not measured because the time was up.
        doubtful: Rows of what was asked for that were measured while the machine was slower than
            at first, and not again since.
        stolen: Largest share of a batch's time in which others took the core.
        warnings: What disturbed the machine, each once.
        seconds: Time that it took.
        comparisons: Of several boards, each beside the first.
    """

    measured: int = 0
    again: int = 0
    refused: dict[OpKey, str] = field(default_factory=dict)
    left: tuple[OpKey, ...] = ()
    doubtful: int = 0
    stolen: float = 0.0
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    comparisons: tuple[BoardComparison, ...] = ()

    def warn(self, said: Sequence[str]) -> None:
        """Add what disturbs, each once."""
        self.warnings = tuple(dict.fromkeys((*self.warnings, *said)))


@dataclass(frozen=True, slots=True)
class Timing:
    """A whole network's time.

    Attributes:
        seconds: Of the quickest run; of several boards, their median.
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

    Rows that were measured while the machine was slower than at first are measured again, in the
    end, as long as it is not slower.

    A KeyboardInterrupt passes through; what was finished is in the table and on disk by then.

    Args:
        table: Gains the rows.
        keys: What must be priced.
        runner: The device.
        progress: Called after every row that is added.
        spread: Relative half-width of the 68 % interval at which a row is finished.
        seconds_cap: Time for all; rows get less of it, with more spread, when it is short.

    Raises:
        TableError: If the table holds rows of another runtime, version or number of threads, or
            rows measured on another device or with other clocks or in another power mode.
        MeasureError: If the device stops answering.
    """
    settle_conditions(table, runner)
    runtime = find_runtime(runner.info.runtime)
    if any(key.precision == "int8" for key in keys):
        settle_arithmetic(table, runner)
    start = time.monotonic()
    boards, report = Boards(runner), ProfileReport()
    report.warn(boards.disturbed())
    needed = table.lacks(keys) or table.doubtful(keys)
    drift = _drift(table, boards, runtime) if needed else None
    wanted = table.lacks(keys)
    done = 0
    size = runtime.batch * len(boards.left)
    for batch in _batches(wanted, runtime, table.header.scheme, size, report):
        left = seconds_cap - (time.monotonic() - start)
        if left <= 0.0:
            report.left += tuple(key for key, _ in batch)
            continue
        share = min(_KEY_SECONDS, left / (len(wanted) - done))
        done += len(batch)
        batch = [each for each in batch if each[0] not in table]  # others measure beside us
        if not batch or drift is None:
            continue
        slower, parts = drift.slower(), boards.split(batch, len(wanted))
        for row in _rows(boards, parts, Limits(spread, share), slower, report):
            if row.key in table:
                continue
            table.append([row])
            report.measured += 1
            if progress is not None:
                progress(report.measured, len(wanted), row)
        report.stolen = max(report.stolen, runner.stolen)
        report.warn(boards.slowed())
        _compare(table, boards, report)
    if drift is not None:
        limits = Limits(spread, _KEY_SECONDS)
        _again(table, keys, boards, drift, limits, start + seconds_cap, report)
    report.doubtful = len(table.doubtful(keys))
    report.warn(boards.lost())
    report.seconds = time.monotonic() - start
    return report


def disagreements(reports: Iterable[ProfileReport]) -> list[str]:
    """Boards that disagree by more than their spread, by the last report that compares them."""
    last = {one.pair: one for report in reports for one in report.comparisons}
    return [f"boards disagree: {one}" for one in last.values() if one.clear]


def _rows(
    boards: Boards,
    parts: tuple[Sequence[Keyed], Sequence[Keyed]],
    limits: Limits,
    slower: Mapping[str, float],
    report: ProfileReport,
) -> Iterator[Row]:
    """The rows of a batch as they finish; what the runtime refuses is reported.

    Args:
        boards: What measures.
        parts: What all of them measure, and what one of them does.
        limits: Of one operator.
        slower: How much slower each board is than at first.
        report: Gains what is refused.
    """
    for part, measure in zip(parts, (boards.measure_by_all, boards.measure), strict=True):
        if not part:
            continue
        whole = replace(limits, seconds=limits.seconds * len(part))
        for key, measured in measure(part, whole):
            if measured.error:
                report.refused[key] = f"the runtime refuses it: {measured.error}"
                continue
            yield row_of(key, measured, slower.get(measured.board, 0.0))


def _again(
    table: LatencyTable,
    keys: Sequence[OpKey],
    boards: Boards,
    drift: Drift,
    limits: Limits,
    end: float,
    report: ProfileReport,
) -> None:
    """Measure doubtful rows again, until the machine is slower than at first or the time is up."""
    runtime = find_runtime(table.header.runtime)
    size = runtime.batch * len(boards.left)
    doubtful = table.doubtful(keys)
    for batch in _batches(doubtful, runtime, table.header.scheme, size, report):
        slower = drift.slower()
        if max(slower.values(), default=0.0) > 0.0 or time.monotonic() >= end:
            return
        rows = [*_rows(boards, boards.split(batch, len(doubtful)), limits, slower, report)]
        table.replace(rows)
        report.again += len(rows)


def _drift(table: LatencyTable, boards: Boards, runtime: Runtime) -> Drift:
    return Drift(table, boards, (runtime.anchor, probe(runtime.anchor, runtime.name)))


def _compare(table: LatencyTable, boards: Boards, report: ProfileReport) -> None:
    """Note in the header how the boards compare by now, beside what it says of other pairs."""
    report.comparisons = boards.comparisons()
    if not report.comparisons:
        return
    pairs = {one.pair for one in report.comparisons}
    others = [one for one in table.header.boards if one.pair not in pairs]
    noted = (*others, *report.comparisons)
    if noted != table.header.boards:
        table.set_header(table.header.model_copy(update={"boards": noted}))


def measure_models(
    models: Mapping[str, bytes],
    runner: Runner,
    *,
    spread: float = 0.01,
    seconds_cap: float = 10.0,
) -> dict[str, Timing]:
    """Time whole networks, interleaved. Of several boards each times all: the median is the time.

    Args:
        models: Name to serialised ONNX; each is read when it is sent.
        runner: The device.
        spread: Relative half-width of the 68 % interval at which a network is finished.
        seconds_cap: Time for all.

    Raises:
        MeasureError: If the runtime refuses a network, naming it, or stops answering.
    """
    names = list(models)
    limits = Limits(
        spread, seconds_cap, pass_seconds=0.03, min_passes=9, max_passes=60, min_seconds=1.5
    )
    probes = [Probe(OneModel(models, name), (1.0,)) for name in names]
    pool = runner if isinstance(runner, PooledRunner) else None
    said = runner.run(probes, limits) if pool is None else pool.run_on_each(probes, limits)
    found: dict[str, list[Measurement]] = {name: [] for name in names}
    for measured in said:
        name = names[measured.probe]
        if measured.error:
            raise MeasureError(f"the runtime refuses {name}: {measured.error}")
        found[name].append(measured)
    return {name: _median(times) for name, times in found.items()}


def _median(times: Sequence[Measurement]) -> Timing:
    """One network's time, of one board or of each of several."""
    return Timing(
        statistics.median(one.seconds for one in times),
        max(one.spread for one in times),
        sum(one.runs for one in times),
    )


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


def _batches(
    keys: Sequence[OpKey], runtime: Runtime, scheme: str | None, count: int, report: ProfileReport
) -> Iterator[list[Keyed]]:
    """Keys with their models, `count` at a time or as fit; those without models are reported."""
    batch: list[Keyed] = []
    size = 0
    for key in keys:
        try:
            models = probe(key, runtime.name, scheme)
        except MeasureError as error:
            report.refused[key] = str(error)
            continue
        batch.append((key, models))
        size += sum(map(len, models.models))
        if len(batch) >= count or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
