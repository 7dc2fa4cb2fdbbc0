"""Search, measure what the best candidates use and nobody measured, and search again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import numpy as np

from automl.cost import build_cost_model, operators_of, resolve_budget
from automl.errors import UsageError
from automl.latency import Corrected, LatencyTable, OpKey
from automl.pipeline.precision import precisions_of
from automl.pipeline.preparing import Aimed
from automl.pipeline.requests import (
    Event,
    OnEvent,
    ProfileRequest,
    SearchRequest,
    SearchResult,
    ignore,
)
from automl.pipeline.runners import is_here, open_runner, own_table
from automl.pipeline.searching import search as search_once
from automl.policy import Policy
from automl.profiling import Runner, profile
from automl.solver import solve
from automl.study import StudyResult
from automl.units import parse_budget

#: Most searches before it is said that the winner does not rest on measured rows.
ROUNDS: Final = 12
#: Candidates of the front, dearest first, whose operators are measured beside the winner's.
FRONT: Final = 8
#: Channel counts a side of a layer that are looked up: measured rows between the few that a
#: search prices otherwise have to count.
COUNTS: Final = 64


def search(request: SearchRequest, on_event: OnEvent = ignore) -> SearchResult:
    """`automl.pipeline.searching.search`; with `request.measure` the loop around it.

    Raises:
        UsageError: There is nothing to measure for: no latency is limited; or a study is resumed.
        AutomlError: As `searching.search`, and what keeps the device from being measured.
    """
    if not request.measure:
        if request.ssh:
            raise UsageError(
                "a board is given, which a search needs only where it measures",
                options=("measure", "ssh"),
            )
        return search_once(request, on_event)
    if request.resume:
        raise UsageError(
            "a search that measures does not resume: rows are kept in the table, start it again",
            options=("measure", "resume"),
        )
    if not any(parse_budget(text).quantity == "latency" for text in request.budget):
        raise UsageError(
            "a search that measures needs a budget of time: nothing else is measured",
            options=("measure", "budget"),
        )
    with ExitStack() as stack:
        return search_once(request, on_event, Measuring(request, on_event, stack))


class Measuring:
    """Better prices after each search. The device is reached when it is first needed."""

    def __init__(self, request: SearchRequest, on_event: OnEvent, stack: ExitStack) -> None:
        self._request, self._on_event, self._stack = request, on_event, stack
        self._runner: Runner | None = None
        self._refused: dict[OpKey, str] = {}
        self._warnings: tuple[str, ...] = ()
        self._rows = 0
        self._searches = 0

    def first(self, aimed: Aimed) -> Aimed:
        """Measure the dense network's operators, by which budgets in per cent are told."""
        table = aimed.priced.table
        if not is_here(table, self._request.threads):
            own_table(self._request.target)  # raises for a table that is not written to
        dense = aimed.priced.space.decode(aimed.priced.space.dense)
        self._measure(aimed, self._lacking(aimed, [dense]))
        return self._priced(aimed)

    def after(self, aimed: Aimed, result: StudyResult) -> Aimed | None:
        """The same with what the best candidates use measured; None when the winner rests on rows.

        Notes of the answer to the last search are in `notes`.
        """
        self._searches += 1
        if result.best is None or result.interrupted or self._searches >= ROUNDS:
            return None
        if not self._lacking(aimed, [result.best.policy]):
            return None
        front = [trial.policy for trial in result.front[-FRONT:]]
        self._measure(aimed, self._lacking(aimed, [result.best.policy, *front]))
        return self._priced(aimed)

    def notes(self, aimed: Aimed, policy: Policy) -> tuple[str, ...]:
        """How much was measured, and what of the winner still was not."""
        times = "search" if self._searches == 1 else "searches"
        done = f"{self._rows} operators were measured in {self._searches} {times}"
        lacking = self._unmeasured(aimed, policy)
        if lacking:
            said = f"{done}; {len(lacking)} of the winner's were not and are predicted"
        else:
            said = f"{done}: the winner rests on measured rows alone"
        refused = (f"{key.op} is not measured: {why}" for key, why in self._refused.items())
        return (said, *self._warnings, *dict.fromkeys(refused))

    def _lacking(self, aimed: Aimed, policies: Iterable[Policy]) -> list[OpKey]:
        keys = [key for policy in policies for key in self._unmeasured(aimed, policy)]
        return [key for key in dict.fromkeys(keys) if key not in self._refused]

    def _unmeasured(self, aimed: Aimed, policy: Policy) -> list[OpKey]:
        """Operators of a policy without a measured row."""
        table = aimed.priced.table
        keys = operators_of(aimed.traced.network, policy, precisions_of(table.header))
        return [key for key in keys if (row := table.row(key)) is None or row.source != "measured"]

    def _measure(self, aimed: Aimed, keys: list[OpKey]) -> None:
        table = aimed.priced.table
        held = [key for key in keys if key in table]
        self._refused.update(
            (key, "its row was fitted or interpolated by others, and stays") for key in held
        )
        wanted = table.lacks(keys)
        if not wanted:
            return
        report = profile(
            table,
            wanted,
            self._device(table),
            progress=lambda done, total, _: self._on_event(
                Event(f"measuring, round {self._searches + 1}", done, total)
            ),
        )
        self._rows += report.measured
        self._refused.update(report.refused)
        self._warnings = tuple(dict.fromkeys((*self._warnings, *report.warnings)))

    def _device(self, table: LatencyTable) -> Runner:
        if self._runner is None:
            request, header = self._request, table.header
            device = ProfileRequest(
                target=request.target,
                model=None,
                input_shape=(),
                threads=header.threads or request.threads,
                runtime=header.runtime,
                ssh=request.ssh,
                python=request.python,
            )
            self._runner = open_runner(device, self._stack)
        return self._runner

    def _priced(self, aimed: Aimed) -> Aimed:
        """The same space with the table's prices of now.

        Raises:
            InfeasibleError: The budget cannot be met any more.
        """
        priced = aimed.priced
        costs = build_cost_model(
            aimed.traced.network,
            priced.space,
            Corrected(priced.table),
            overhead=priced.overhead,
            precisions=precisions_of(priced.table.header),
            counts=COUNTS,
        )
        limits = [parse_budget(text) for text in self._request.budget]
        unit = priced.table.header.unit
        budget = resolve_budget(limits, costs.dense, costs.energy, unit)
        solve(costs, [np.zeros(size) for size in priced.space.sizes], budget)
        return replace(aimed, priced=replace(priced, costs=costs), budget=budget)
