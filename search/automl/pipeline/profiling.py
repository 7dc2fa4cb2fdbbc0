"""Measuring what a search over a model will ask for."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Final

from automl.cost import required_keys
from automl.documents import read_json, shown
from automl.errors import MeasureError, TableError, UsageError
from automl.latency import OpKey, is_cpu_table, parse_key
from automl.network import TracedModel, trace_network
from automl.pipeline.calibrating import calibrate, import_rows
from automl.pipeline.clock import measuring_here
from automl.pipeline.granularity import learn_granularity, probe_keys
from automl.pipeline.networks import FittedNetworks, fit_networks
from automl.pipeline.precision import BitChoices, choose_bits, precisions_of
from automl.pipeline.pricing import describe, float_precision
from automl.pipeline.requests import (
    BoardShare,
    Event,
    OnEvent,
    ProfileRequest,
    ProfileResult,
    ignore,
)
from automl.pipeline.runners import (
    create_table,
    measured_table,
    open_runner,
    parse_hosts,
    provenance,
)
from automl.pipeline.tflite import time_networks
from automl.policy import Precisions
from automl.profiling import (
    ProfileReport,
    Runner,
    disagreements,
    find_runtime,
    measuring_runtime,
    runtime_of_table,
)
from automl.profiling import profile as measure
from automl.space import Space, build_space

#: Bytes of a list of operators.
_OPERATORS_BYTES: Final = 1 << 23


def profile(request: ProfileRequest, on_event: OnEvent = ignore) -> ProfileResult:
    """Add to a target's table: measured rows, a fit to whole networks' times, or a read profile.

    Raises:
        TargetError: The target's table is not one to write to.
        TableError: Rows measured under other conditions than the table's.
        UsageError: Flags that do not go together, or a file that cannot be read.
        MeasureError: A device that cannot be reached or lacks the runtime.
    """
    find_runtime(request.runtime)
    parse_hosts(request.ssh)
    if request.calibrate is not None:
        return calibrate(request, read_operators)
    if request.profile is not None:
        return import_rows(request)
    if not measuring_runtime(request.runtime).takes_onnx:
        return time_networks(request, on_event)
    if request.model is None and request.ops is None:
        raise UsageError("profile needs a model or operators", options=("model", "ops"))
    with ExitStack() as stack:
        session = _Session(request, on_event, stack)
        if request.ops is not None:
            session.measure(read_operators(request.ops))
            return session.result(None)
        traced, space = session.measure_model()
        return session.result(session.fit(traced, space))


class _Session:
    """One profile: its table, and a device that is reached when it is first needed."""

    def __init__(self, request: ProfileRequest, on_event: OnEvent, stack: ExitStack) -> None:
        self._request, self._on_event, self._stack = request, on_event, stack
        self._runner: Runner | None = None
        self._keys: dict[OpKey, None] = {}
        self._reports: list[ProfileReport] = []
        self._notes: list[str] = []
        table = measured_table(request)
        self.table = create_table(request, self.runner) if table is None else table
        self._before = self.table.rows

    @property
    def runner(self) -> Runner:
        if self._runner is None:
            self._on_event(Event("connecting" if self._request.ssh else "starting", 0, 1))
            self._runner = open_runner(self._request, self._stack)
        return self._runner

    def measure(self, keys: list[OpKey]) -> None:
        """Measure what the table lacks."""
        self._keys.update(dict.fromkeys(keys))
        if not (self.table.lacks(keys) or self.table.doubtful(keys)):
            return
        if not len(self.table) and not is_cpu_table(self.table, self._request.threads):
            header = self.table.header
            said = provenance(self._request, self.runner)
            if said not in header.provenance:
                joined = "; ".join(part for part in (header.provenance, said) if part)
                self.table.set_header(header.model_copy(update={"provenance": joined}))
        try:
            with nullcontext() if self._request.ssh else measuring_here():
                report = measure(
                    self.table,
                    keys,
                    self.runner,
                    progress=lambda done, total, _: self._on_event(Event("measuring", done, total)),
                )
        except TableError as error:
            raise TableError(f"{self.table.path}: {error}") from error
        self._reports.append(report)

    def measure_model(self) -> tuple[TracedModel, Space]:
        """Measure what a search over the request's model can ask for."""
        request, table = self._request, self.table
        assert request.model is not None
        precision, bits = float_precision(table), self._bits()
        traced = trace_network(request.model, request.input_shape, resolutions=request.resolutions)
        steps: int | dict[str, int] | None = request.round_to
        if steps is None:
            self.measure(probe_keys(traced.network, precision))
            steps = learn_granularity(traced.network, table, precision)
        space = build_space(
            traced.network,
            round_to=steps,
            resolutions=request.resolutions,
            depth=request.depth,
            precisions=bits.precisions,
        )
        keys = required_keys(traced.network, space, precisions=precisions_of(table.header))
        self.measure(keys)
        return traced, space

    def _bits(self) -> BitChoices:
        """What is measured beside floats, which the table offers from here on."""
        request, header = self._request, self.table.header
        offered = Precisions(runtime_of_table(header.runtime).offered or header.precisions)
        bits = choose_bits(request.precisions, request.target, offered, ("latency",))
        names = dict.fromkeys((*header.precisions, *map(offered.name_of, bits.precisions)))
        if tuple(names) != header.precisions:
            self.table.set_header(header.model_copy(update={"precisions": tuple(names)}))
        return bits

    def fit(self, traced: TracedModel, space: Space) -> FittedNetworks | None:
        """Measure whole networks and keep the overhead, unless that was done for this model."""
        header = self.table.header
        new = len(self.table) > len(self._before)
        known = header.known_error is not None and traced.network.fingerprint[:8] in (
            header.known_error.on
        )
        if known and header.overhead is not None and not new:
            return None
        request = self._request
        try:
            fitted = fit_networks(
                traced, self.table, space, self.runner, request.seed, self._on_event
            )
        except (TableError, MeasureError) as error:
            self._notes.append(f"predictions were not held against whole networks: {error}")
            return None
        self.table.set_header(
            header.model_copy(
                update={"overhead": fitted.overhead, "known_error": fitted.known_error}
            )
        )
        return fitted

    def result(self, fitted: FittedNetworks | None) -> ProfileResult:
        """What came of it."""
        assert self.table.path is not None
        reports, before = self._reports, {row.key for row in self._before}
        refused = {key: why for report in reports for key, why in report.refused.items()}
        doubtful = len(self.table.doubtful(self._keys))
        again = sum(report.again for report in reports)
        notes = [warning for report in reports for warning in report.warnings]
        notes += disagreements(reports)
        if doubtful:
            notes.append(
                f"{doubtful} rows were measured on a busy machine: doubtful until they are measured"
                " again, by the next profile of a quiet one"
            )
        if again:
            notes.append(f"{again} rows of a busy machine were measured again")
        error = fitted.overhead.error if fitted is not None else None
        return ProfileResult(
            target=describe(self.table, float_precision(self.table), error),
            table_path=self.table.path,
            asked=len(self._keys),
            known=sum(key in before for key in self._keys),
            measured=sum(key not in before and key in self.table for key in self._keys),
            refused=tuple(f"{key.op} {key}: {why}" for key, why in refused.items()),
            notes=tuple(dict.fromkeys((*notes, *self._notes))),
            networks=fitted.networks if fitted is not None else (),
            error=error,
            boards=self._shares(),
        )

    def _shares(self) -> tuple[BoardShare, ...]:
        """What each of several boards measured, the one that others are held against first."""
        if not self._reports or not self._reports[-1].comparisons:
            return ()
        before = {row.key for row in self._before}
        counts = Counter(row.board for row in self.table.rows if row.key not in before)
        compared = {one.board: one for one in self._reports[-1].comparisons}
        first = self._reports[-1].comparisons[0].beside
        return tuple(
            BoardShare(name, counts[name], compared.get(name))
            for name in dict.fromkeys((first, *compared, *filter(None, counts)))
        )


def read_operators(path: Path) -> list[OpKey]:
    """Operators from a JSON list of objects with the fields of `OpKey`.

    Raises:
        UsageError: No such file, not JSON, or an object that is no operator.
    """
    found = read_json(path, UsageError, "operators", most=_OPERATORS_BYTES)
    if not isinstance(found, list):
        raise UsageError(f"operators {path}: expected a list, found {shown(found)}")
    try:
        return [parse_key(each, f"operators {path}: {i}") for i, each in enumerate(found)]
    except TableError as error:
        raise UsageError(str(error)) from None
