"""Several budgets at once share one context: prices, database, and what was scored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from automl.cost import Budget, Limit
from automl.errors import OptionError, UsageError
from automl.options import SearchOptions
from automl.pipeline.context import (
    SearchContext,
    make_context,
    price_request,
    reachable_budget,
)
from automl.pipeline.integers import priced_or_floats
from automl.pipeline.log import Log
from automl.pipeline.measure_loop import MeasureLoop
from automl.pipeline.ownership import open_run, own_folder
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.requests import OnEvent, SearchRequest, SearchResult, ignore
from automl.pipeline.results import finish, finish_dense
from automl.pipeline.rivals import rivals_of
from automl.pipeline.running import best_of, reached, run_agent, workers_of
from automl.study import Completed, StudyResult, open_pool
from automl.units import Quantity, parse_budget

_SHARES: Final[dict[Quantity, str]] = {
    "latency": "%",
    "macs": "%MACs",
    "bytes": "%size",
    "joules": "%energy",
}


def search_front(
    request: SearchRequest,
    budgets: Sequence[tuple[str, ...]],
    count: int = 0,
    on_event: OnEvent = ignore,
) -> tuple[SearchResult, ...]:
    """One search a budget, each in a folder of its own under `request.out`.

    The network is traced and priced once, its context is made once, and no policy is scored twice.
    All budgets are known to be reachable, and no two to be one, before anything costly is done.
    Each budget is given the best policy that fits it, also where the search of another budget found
    it.

    Args:
        request: Its budget is not used.
        budgets: Limits as written, all of which hold together in each.
        count: With one budget: search so many, in even steps from it to the dense cost; 0 for none.
        on_event: Told of progress.

    Raises:
        OptionError: As `check_front`.
        UsageError: Two budgets are one.
        InfeasibleError: A budget cannot be met.
    """
    check_front(request, budgets, count)
    with ExitStack() as stack:
        stack.enter_context(own_folder(request.out))
        stack.enter_context(reached(request))
        first_of = _timed_first(budgets)
        request, network = priced_or_floats(
            lambda each: price_request(replace(each, budget=first_of), on_event), request
        )
        if count:
            budget = reachable_budget(network, budgets[0])
            budgets = spread(budgets[0], budget, network, count)
        runs = _runs(request, budgets, network, on_event, stack)
        searched = [run for run in runs if not run.met(network)]
        if not searched:
            return tuple(finish_dense(network, run.request, run.log) for run in runs)
        first = searched[0]
        context = make_context(network, first.request, first.log)
        loop = MeasureLoop(first.request, first.log, stack) if network.adaptive else None
        context, held, studies = _studies(context, searched, loop)
        runs = [replace(run, budget=held.get(run.request.out, run.budget)) for run in runs]
        return tuple(_finished(context, runs, studies, loop))


def check_front(options: SearchOptions, budgets: Sequence[tuple[str, ...]], count: int) -> None:
    """Check, before anything is loaded, that there can be a front.

    Raises:
        OptionError: No budget, or one twice; a count with several; or an option that takes one
            budget alone.
    """
    if options.measure:
        raise OptionError(
            "measure",
            "makes the prices of one budget better, and not those of a front",
            options=("budget",),
        )
    if options.stages > 1 or options.recover != "0":
        raise OptionError("stages", "end at one budget, and a front has several")
    if not budgets or not all(budgets):
        raise OptionError("budgets", "at least one is needed")
    if count < 0:
        raise OptionError("front", f"expected a whole number from 0 on, found {count}")
    if count and len(budgets) > 1:
        raise OptionError(
            "front",
            f"is spread from one budget to the dense cost, and there are {len(budgets)}",
            options=("budget",),
        )
    twice = next((one for one in budgets if budgets.count(one) > 1), None)
    if twice is not None:
        raise OptionError("budget", f"{' and '.join(twice)} is asked for twice")


@dataclass(frozen=True, slots=True)
class _Run:
    """One budget's search, in a folder of its own."""

    request: SearchRequest
    budget: Budget
    log: Log

    def met(self, network: PricedNetwork) -> bool:
        """Whether the dense network is within the budget."""
        return self.budget.allows(network.costs.dense)


def _runs(
    request: SearchRequest,
    budgets: Sequence[tuple[str, ...]],
    network: PricedNetwork,
    on_event: OnEvent,
    stack: ExitStack,
) -> list[_Run]:
    """One search a budget; all are known to be possible, and no two to be one.

    Their folders are owned until the stack ends.

    Raises:
        UsageError: Two budgets are one, or would share a folder.
    """
    resolved = [reachable_budget(network, budget) for budget in budgets]
    folders = [_folder(budget) for budget in budgets]
    for names in (list(map(str, resolved)), list(map(str, folders))):
        for second, name in enumerate(names):
            first = names.index(name)
            if first < second:
                texts = " and ".join(" with ".join(budgets[each]) for each in (first, second))
                raise UsageError(
                    f"the budgets {texts} are one search, {name}: give each once",
                    options=("budget",),
                )
    requests = [
        replace(request, budget=budget, out=request.out / folder)
        for budget, folder in zip(budgets, folders, strict=True)
    ]
    logs = [stack.enter_context(open_run(each, on_event)) for each in requests]
    return [_Run(*each) for each in zip(requests, resolved, logs, strict=True)]


def _studies(
    context: SearchContext, runs: Sequence[_Run], loop: MeasureLoop | None
) -> tuple[SearchContext, dict[Path, Budget], dict[Path, StudyResult]]:
    """The context after all studies, budgets that they went by in the end, and the studies.

    Both are by folder, up to a study that was interrupted.
    """
    held: dict[Path, Budget] = {}
    studies: dict[Path, StudyResult] = {}
    with open_pool(context.evaluator, workers_of(runs[0].request)) as pool:
        for run in runs:
            if loop is None:
                found = run_agent(context, run.budget, run.request, pool, run.log)
            else:
                outcome = loop.search(context, run.budget, run.request, pool, run.log)
                context, found = outcome.context, outcome.result
                held[run.request.out] = outcome.held
            studies[run.request.out] = found
            if found.interrupted:
                break
    return context, held, studies


def _finished(
    context: SearchContext,
    runs: Sequence[_Run],
    studies: dict[Path, StudyResult],
    loop: MeasureLoop | None,
) -> Iterator[SearchResult]:
    """Each budget's best policy, up to a search that was interrupted."""
    trials = [
        trial
        for found in studies.values()
        for trial in found.trials
        if isinstance(trial, Completed)
    ]
    for run in runs:
        if run.met(context.network):
            yield finish_dense(context.network, run.request, run.log)
            continue
        found = studies[run.request.out]
        if loop is None or found.interrupted:
            best: Completed | None = _best_within(run.budget, best_of(found), trials)
        else:
            network, best = loop.confirm(context.network, run.budget, trials)
            context = replace(context, network=network)
        assert best is not None  # the study of this budget has one
        rivals: list[Completed] = []
        if best in found.trials:
            if loop is None:
                rivals = rivals_of(context, found, best)
            else:
                context, rivals = loop.confirm_rivals(context, run.budget, found, best)
        yield finish(context, run.request, found, best, run.log, rivals)
        if found.interrupted:
            return


def _best_within(budget: Budget, best: Completed, trials: Sequence[Completed]) -> Completed:
    """The best policy within the budget, whichever budget's search found it."""
    whole = max(trial.images or 0 for trial in trials)
    for trial in trials:
        # One that was given up early has an estimate for a score.
        known = (trial.images or 0) == whole
        if known and budget.allows(trial.cost) and trial.score > best.score:
            best = trial
    return best


def spread(
    text: tuple[str, ...], budget: Budget, network: PricedNetwork, count: int
) -> list[tuple[str, ...]]:
    """The budget and `count` - 1 more, in even steps towards the dense network's cost."""
    dense = network.costs.dense

    def at(step: int, limit: Limit) -> str:
        share = limit.value / dense.value(limit.quantity)
        share += (1.0 - share) * step / count
        return f"{100 * share:.4g}{_SHARES[limit.quantity]}"

    steps = range(1, count)
    return [text, *(tuple(at(step, limit) for limit in budget.limits) for step in steps)]


def _timed_first(budgets: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """A budget of time where there is one: prices of time are then what they have to be for it."""

    def is_timed(budget: tuple[str, ...]) -> bool:
        return any(parse_budget(text).quantity == "latency" for text in budget)

    return next(filter(is_timed, budgets), budgets[0])


def _folder(budget: tuple[str, ...]) -> Path:
    words = "-".join(budget).replace("%", "pct").replace("µ", "u")
    return Path(re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-."))
