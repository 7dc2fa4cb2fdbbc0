"""Search, measure what the best candidates use and nobody measured, and search again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Final

from automl.cost import build_cost_model, operators_of
from automl.latency import CorrectedPricer, LatencyTable, OpKey, is_cpu_table
from automl.pipeline.clock import measuring_here
from automl.pipeline.context import make_context, reachable_budget
from automl.pipeline.log import Log
from automl.pipeline.ownership import stored_study
from automl.pipeline.precision import precisions_of
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.requests import Event, OnEvent, ProfileRequest, SearchRequest, SearchResult
from automl.pipeline.results import finish, finish_dense
from automl.pipeline.runners import open_runner, own_table, parse_hosts
from automl.pipeline.running import best_of, run_agent, workers_of
from automl.policy import Policy
from automl.profiling import ProfileReport, Runner, disagreements, profile
from automl.study import StudyResult, delete_study, open_pool

#: Most searches before it is said that the winner does not rest on measured rows.
ROUNDS: Final = 12
#: Candidates of the front, dearest first, whose operators are measured beside the winner's.
FRONT: Final = 8
#: Channel counts a side of a layer that are looked up: measured rows between the few that a
#: search prices otherwise have to count.
COUNTS: Final = 64


def search_measured(network: PricedNetwork, request: SearchRequest, log: Log) -> SearchResult:
    """Search again and again, until the winner rests on measured rows.

    Raises:
        TargetError: The table is one that is not written to.
        InfeasibleError: The budget cannot be met with the prices that were measured.
        MeasureError: A device that cannot be reached or lacks the runtime.
    """
    with ExitStack() as stack:
        loop = MeasureLoop(request, log, stack)
        network = loop.measure_dense(network)
        budget = reachable_budget(network, request.budget)
        if budget.allows(network.costs.dense):
            return finish_dense(network, budget, request, log)
        context = make_context(network, request, log)
        pool = stack.enter_context(open_pool(context.evaluator, workers_of(request)))
        result = run_agent(context, budget, request, pool, log)
        while (better := loop.measure_best(context.network, result)) is not None:
            context = replace(context, network=better)
            budget = reachable_budget(better, request.budget)
            delete_study(*stored_study(request))  # its prices are not those of now
            result = run_agent(context, budget, request, pool, log)
        best = best_of(result)
        noted = replace(context.network, notes=loop.notes(context.network, best.policy))
        return finish(replace(context, network=noted), budget, request, result, best, log)


class MeasureLoop:
    """Better prices after each search. The device is reached when it is first needed."""

    def __init__(self, request: SearchRequest, on_event: OnEvent, stack: ExitStack) -> None:
        parse_hosts(request.ssh)
        self._request, self._on_event, self._stack = request, on_event, stack
        self._runner: Runner | None = None
        self._refused: dict[OpKey, str] = {}
        self._warnings: tuple[str, ...] = ()
        self._reports: list[ProfileReport] = []
        self._rows = 0
        self._searches = 0

    def measure_dense(self, network: PricedNetwork) -> PricedNetwork:
        """Measure the dense network's operators, by which budgets in per cent are told."""
        table, space = network.table, network.space
        if not is_cpu_table(table, self._request.threads):
            own_table(self._request.target)  # raises for a table that is not written to
        self._measure(table, self._lacking(network, [space.decode(space.dense)]))
        return priced_again(network)

    def measure_best(self, network: PricedNetwork, result: StudyResult) -> PricedNetwork | None:
        """What the best candidates use measured; None where the winner's prices stand."""
        self._searches += 1
        if result.best is None or result.interrupted or self._searches >= ROUNDS:
            return None
        if not self._lacking(network, [result.best.policy]):
            return None
        front = [trial.policy for trial in result.front[-FRONT:]]
        self._measure(network.table, self._lacking(network, [result.best.policy, *front]))
        return priced_again(network)

    def notes(self, network: PricedNetwork, policy: Policy) -> tuple[str, ...]:
        """What the user should know: how much was measured, and what of the winner was not."""
        times = "search" if self._searches == 1 else "searches"
        done = f"{self._rows} operators were measured in {self._searches} {times}"
        lacking = self._unmeasured(network, policy)
        if lacking:
            said = f"{done}; {len(lacking)} of the winner's were not and are predicted"
        else:
            said = f"{done}: the winner rests on measured rows alone"
        refused = (f"{key.op} is not measured: {why}" for key, why in self._refused.items())
        return (
            said,
            *self._warnings,
            *disagreements(self._reports),
            *dict.fromkeys(refused),
            *network.notes,
        )

    def _lacking(self, network: PricedNetwork, policies: Iterable[Policy]) -> list[OpKey]:
        keys = [key for policy in policies for key in self._unmeasured(network, policy)]
        return [key for key in dict.fromkeys(keys) if key not in self._refused]

    def _unmeasured(self, network: PricedNetwork, policy: Policy) -> list[OpKey]:
        """Operators of a policy without a measured row."""
        table = network.table
        keys = operators_of(network.traced.network, policy, precisions_of(table.header))
        return [key for key in keys if (row := table.row(key)) is None or row.source != "measured"]

    def _measure(self, table: LatencyTable, keys: list[OpKey]) -> None:
        held = [key for key in keys if key in table]
        self._refused.update(
            (key, "its row was fitted or interpolated by others, and stays") for key in held
        )
        wanted = table.lacks(keys)
        if not wanted:
            return
        with nullcontext() if self._request.ssh else measuring_here():
            report = profile(
                table,
                wanted,
                self._device(table),
                progress=lambda done, total, _: self._on_event(
                    Event(f"measuring, round {self._searches + 1}", done, total)
                ),
            )
        self._reports.append(report)
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


def priced_again(network: PricedNetwork) -> PricedNetwork:
    """The same network and choices with the table's prices of now."""
    costs = build_cost_model(
        network.traced.network,
        network.space,
        CorrectedPricer(network.table),
        overhead=network.overhead,
        precisions=precisions_of(network.table.header),
        counts=COUNTS,
    )
    return replace(network, costs=costs)
