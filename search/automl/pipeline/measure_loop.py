"""A search measures what its result depends on, and leaves the rest predicted.

First what the policy of least sensitivity uses is measured, and what it would use if predictions
turned out as low as they may well be, until both are measured; then the agent searches; then its
best trials are measured, until the best that is within the budget is. On this machine the network
of the first policy is timed before the agent searches, and that of the best trial after it: where
one is over the budget or far below it, the agent searches with a limit that is so much lower or
higher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from automl.cost import (
    Budget,
    CostModel,
    Limit,
    build_cost_model,
    operators_of,
    required_keys,
)
from automl.errors import InfeasibleError
from automl.latency import (
    MISSING,
    SOURCES,
    LatencyTable,
    LoweredPricer,
    OpKey,
    Pricer,
    Row,
    is_cpu_table,
)
from automl.pipeline.clock import measuring_here
from automl.pipeline.context import SearchContext, reachable_budget
from automl.pipeline.known_scores import KnownScores
from automl.pipeline.log import Log
from automl.pipeline.on_the_clock import ClockRounds, Outcome
from automl.pipeline.ownership import stored_study
from automl.pipeline.precision import precisions_of
from automl.pipeline.pricing import COUNTS, PricedNetwork, pricer_of
from automl.pipeline.requests import Event, OnEvent, ProfileRequest, SearchRequest, SearchResult
from automl.pipeline.results import finish, finish_dense
from automl.pipeline.rivals import rivals_of
from automl.pipeline.runners import open_runner, own_table, parse_hosts
from automl.pipeline.running import best_of, run_agent, workers_of
from automl.policy import Policy
from automl.profiling import (
    ProfileReport,
    Runner,
    disagreements,
    is_settled,
    profile,
    settle_arithmetic,
)
from automl.solver import solve
from automl.study import Completed, ScoringPool, StudyResult, Trial, delete_study, open_pool

#: Most rounds of measuring at a time.
ROUNDS: Final = 12
#: In the run folder: what operators cost where the search began.
PRICES: Final = "prices.jsonl"

#: Makes the context of a priced network.
MakeContext = Callable[[PricedNetwork], SearchContext]


def search_measured(
    network: PricedNetwork, request: SearchRequest, log: Log, make: MakeContext
) -> SearchResult:
    """A search whose winner rests on measured rows.

    Args:
        network: What is searched; what it may ask for need not be measured.
        request: Who searches, for how long and into which folder.
        log: Of that folder.
        make: Makes the context of a priced network.

    Raises:
        TargetError: The table is one that is not written to.
        InfeasibleError: The budget cannot be met with the prices that were measured.
        MeasureError: A device that cannot be reached or lacks the runtime.
    """
    with ExitStack() as stack:
        loop = MeasureLoop(request, log, stack)
        network = loop.measure_dense(network)
        network, budget = loop.reach(network, request.budget)
        if budget.allows(network.costs.dense):
            return finish_dense(network, request, log)
        context = make(network)
        pool = stack.enter_context(open_pool(context.evaluator, workers_of(request)))
        found = loop.search(context, budget, request, pool, log)
        result, best = found.result, found.best
        context, rivals = loop.confirm_rivals(found.context, found.held, result, best)
        notes = (*found.notes, *loop.notes(context.network, best.policy))
        noted = replace(context.network, notes=notes)
        return finish(replace(context, network=noted), request, result, best, log, rivals)


class MeasureLoop:
    """Measures what decides a search. The device is reached when it is first needed."""

    def __init__(self, request: SearchRequest, on_event: OnEvent, stack: ExitStack) -> None:
        parse_hosts(request.ssh)
        self._request, self._on_event, self._stack = request, on_event, stack
        self._runner: Runner | None = None
        self._refused: dict[OpKey, str] = {}
        self._warnings: tuple[str, ...] = ()
        self._reports: list[ProfileReport] = []
        self._rows = 0
        self._rounds = 0

    def measure_dense(self, network: PricedNetwork) -> PricedNetwork:
        """Measure the dense network's operators, by which budgets in per cent are told."""
        table, space = network.table, network.space
        if not is_cpu_table(table, self._request.threads):
            own_table(self._request.target)  # raises for a table that is not written to
        if space.of_kind("bits") and not is_settled(table.header):
            settle_arithmetic(table, self._device(table))
        return self._measured(network, [space.decode(space.dense)]) or network

    def reach(self, network: PricedNetwork, texts: Sequence[str]) -> tuple[PricedNetwork, Budget]:
        """A budget in absolute terms, refused only where that rests on what was measured.

        Raises:
            InfeasibleError: No policy is within it; names the smallest cost.
            UsageError: A limit that the target cannot be held to.
        """
        for _ in range(ROUNDS):
            try:
                return network, reachable_budget(network, texts)
            except InfeasibleError:
                # The least that is named has to be measured too, and nothing left that may be less.
                better = self._measured(network, [_quickest(network)])
                if better is None:
                    raise
                network = better
        return network, reachable_budget(network, texts)

    def search(
        self,
        context: SearchContext,
        budget: Budget,
        request: SearchRequest,
        pool: ScoringPool,
        log: Log,
    ) -> Outcome:
        """A study whose winner rests on measured rows; the context has its prices.

        Raises:
            InfeasibleError: The budget cannot be met with the prices that were measured.
            StudyError, KeyboardInterrupt: As `run_agent` and `best_of`.
        """
        kept = request.out / PRICES
        rounds, known = ClockRounds(request, budget), KnownScores(request, context.network.space)
        if request.resume and kept.exists():
            network = priced_by(context.network, LatencyTable.read(kept))
        else:
            network = self.settle(context, rounds.held)
            log(Event("timing a first policy"))
            if rounds.begin(network, _least_sensitive(network, context, rounds.held)):
                rounds.keep()
                network = self.settle(replace(context, network=network), rounds.held)
            keep_prices(network, kept)
        while True:
            context = replace(context, network=network)
            result = run_agent(context, rounds.held, rounds.request, pool, log, known.scores)
            if result.best is None or result.interrupted:
                return Outcome(context, result, best_of(result), rounds.held)
            network, best = self.confirm(network, rounds.held, result.trials)
            if best is not None:
                priced = replace(context, network=network)
                outcome = Outcome(priced, result, best, rounds.held, rounds.notes())
                log(Event("timing the best policy"))
                if (settled := rounds.settled(outcome)) is not None:
                    return settled
            nothing = [np.zeros(size) for size in network.space.sizes]
            solve(network.costs, nothing, rounds.held)  # raises where no policy is within it
            delete_study(*stored_study(request))  # its prices or its budget are not those of now
            keep_prices(network, kept)
            rounds.keep()
            known.keep(result.trials)

    def settle(self, context: SearchContext, budget: Budget) -> PricedNetwork:
        """Measure until the policy of least sensitivity does not depend on what is predicted.

        It is found by the prices as they are, and by those with each prediction as low as it may
        well be: the two bound what measuring more could change.
        """
        network = context.network
        for _ in range(ROUNDS):
            self._on_event(Event("solving"))
            lowered = replace(network, costs=lowered_costs(network))
            policies = [_least_sensitive(each, context, budget) for each in (network, lowered)]
            better = self._measured(network, policies)
            if better is None:
                break
            network = better
        return network

    def confirm(
        self, network: PricedNetwork, budget: Budget, trials: Iterable[Trial]
    ) -> tuple[PricedNetwork, Completed | None]:
        """The best trial that is within the budget by measured prices; None where none is.

        A trial that was not measured is left out only if it would be too dear with each prediction
        as low as it may well be. One that was given up early has an estimate for a score, and is
        left out.
        """
        scored = [trial for trial in trials if isinstance(trial, Completed)]
        whole = max(trial.images or 0 for trial in scored)
        known = [trial for trial in scored if (trial.images or 0) == whole]
        lowered = lowered_costs(network)
        for trial in sorted(known, key=lambda each: (-each.score, each.cost.latency)):
            if not budget.allows(lowered.cost(trial.policy)):
                continue
            better = self._measured(network, [trial.policy])
            if better is not None:
                network, lowered = better, lowered_costs(better)
            cost = network.costs.cost(trial.policy)
            if budget.allows(cost):
                return network, replace(trial, cost=cost)
        return network, None

    def confirm_rivals(
        self, context: SearchContext, budget: Budget, result: StudyResult, best: Completed
    ) -> tuple[SearchContext, list[Completed]]:
        """What the best trial is to be held against, as far as it is within the budget."""
        network, found = context.network, list[Completed]()
        for rival in rivals_of(context, result, best):
            network, confirmed = self.confirm(network, budget, [rival])
            found += [] if confirmed is None else [confirmed]
        return replace(context, network=network), found

    def notes(self, network: PricedNetwork, policy: Policy) -> tuple[str, ...]:
        """What the user should know: how much was measured, and what of the winner was not."""
        rows = self._rows + network.rows
        done = f"{rows} operators were measured" if rows else "no operator had to be measured"
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

    def _measured(self, network: PricedNetwork, policies: Iterable[Policy]) -> PricedNetwork | None:
        """The network with what policies use measured; None where there was nothing to measure."""
        wanted = self._lacking(network, policies)
        if not wanted:
            return None
        self._rounds += 1
        self._measure(network.table, wanted)
        return priced_by(network, pricer_of(network.table))

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
                    Event(f"measuring, round {self._rounds}", done, total)
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
                answer_timeout=request.answer_timeout,
            )
            self._runner = open_runner(device, self._stack)
        return self._runner


def priced_by(network: PricedNetwork, pricer: Pricer) -> PricedNetwork:
    """The same network and choices with other prices."""
    return replace(network, costs=_costs(network, pricer))


def lowered_costs(network: PricedNetwork) -> CostModel:
    """Prices of a network's choices, each prediction as low as it may well be."""
    return _costs(network, LoweredPricer(pricer_of(network.table)))


def _least_sensitive(network: PricedNetwork, context: SearchContext, budget: Budget) -> Policy:
    """The policy of least summed sensitivity within a budget by a network's prices."""
    found = context.sensitivity
    solution = solve(network.costs, found.single, budget, pairwise=found.pairwise)
    return network.space.decode(solution.vector)


def _quickest(network: PricedNetwork) -> Policy:
    """The policy that would take the least time if predictions turned out as low as they may."""
    costs = lowered_costs(network)
    nothing = [np.zeros(size) for size in network.space.sizes]
    try:
        found = solve(costs, nothing, Budget((Limit("latency", 0.0),)))
    except InfeasibleError as error:
        rounded = error.least["latency"] * (1.0 + 1e-9)
        found = solve(costs, nothing, Budget((Limit("latency", rounded),)))
    return network.space.decode(found.vector)


def keep_prices(network: PricedNetwork, path: Path) -> None:
    """Write what a search goes by, as a table, so that it goes on with the same when resumed.

    Raises:
        TableError: The file cannot be written.
    """
    precisions = precisions_of(network.table.header)
    keys = required_keys(
        network.traced.network, network.space, precisions=precisions, counts=COUNTS
    )
    found = pricer_of(network.table).lookup(keys)
    values = zip(keys, found.seconds, found.spread, found.source, strict=True)
    rows = [
        Row(key, float(seconds), float(spread), source=SOURCES[source])
        for key, seconds, spread, source in values
        if source != MISSING
    ]
    path.unlink(missing_ok=True)
    LatencyTable.create(path, network.table.header, rows)


def _costs(network: PricedNetwork, pricer: Pricer) -> CostModel:
    return build_cost_model(
        network.traced.network,
        network.space,
        pricer,
        overhead=network.overhead,
        precisions=precisions_of(network.table.header),
        counts=COUNTS,
    )
