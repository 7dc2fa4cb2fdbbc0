"""Several budgets at once: one reading, one set of prices, one database, one memory of scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from automl.cost import Limit, resolve_budget
from automl.errors import UsageError
from automl.pipeline.log import Log, start
from automl.pipeline.preparing import Aimed, Prepared, aim, prepare_scores
from automl.pipeline.requests import OnEvent, SearchRequest, SearchResult, ignore
from automl.pipeline.searching import best_of, deliver_best, deliver_dense, study_prepared
from automl.solver import solve
from automl.study import StudyResult, Trial
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

    The network is read, priced and prepared once, and no policy is scored twice. All budgets are
    known to be reachable before anything costly is done. Each budget is given the best policy that
    fits it, also where the search of another budget found it.

    Args:
        request: Its budget is not used.
        budgets: Limits as written, all of which hold together in each.
        count: With one budget: search so many, in even steps from it to the dense cost; 0 for none.
        on_event: Told of progress.

    Raises:
        UsageError: A count with several budgets, or with what takes one budget alone.
        InfeasibleError: A budget cannot be met.
    """
    if request.measure:
        raise UsageError(
            "measuring makes the prices of one budget better, and not those of a front",
            options=("measure", "budget"),
        )
    if count and len(budgets) > 1:
        raise UsageError(
            f"a front is spread from one budget to the dense cost, and there are {len(budgets)}",
            options=("front", "budget"),
        )
    start(request, on_event)
    aimed = aim(replace(request, budget=_timed_first(budgets)), on_event)
    if count:
        budgets = spread(budgets[0], aimed, count)
    runs = [(_run(request, budget), _aimed(aimed, budget)) for budget in budgets]
    searched, prepared = _search_all(runs, on_event)
    trials = [trial for each in searched if each.result for trial in each.result.trials]
    return tuple(_delivered(each, prepared, trials) for each in searched)


@dataclass(frozen=True, slots=True)
class _Searched:
    """One budget's search before anything is delivered; no result where the dense network fits."""

    run: SearchRequest
    aimed: Aimed
    log: Log
    result: StudyResult | None


def _search_all(
    runs: Sequence[tuple[SearchRequest, Aimed]], on_event: OnEvent
) -> tuple[list[_Searched], Prepared | None]:
    """All studies, up to one that is interrupted."""
    searched: list[_Searched] = []
    prepared: Prepared | None = None
    for run, aimed in runs:
        log = start(run, on_event)
        if aimed.met:
            searched.append(_Searched(run, aimed, log, None))
            continue
        prepared = prepared or prepare_scores(aimed, run, log)
        aimed_there, result = study_prepared(run, aimed, prepared, log)
        searched.append(_Searched(run, aimed_there, log, result))
        if result.interrupted:
            break
    return searched, prepared


def _delivered(
    searched: _Searched, prepared: Prepared | None, trials: Sequence[Trial]
) -> SearchResult:
    """The best policy within the budget, whichever budget's search found it."""
    if searched.result is None or prepared is None:
        return deliver_dense(searched.run, searched.aimed, searched.log)
    best = best_of(searched.result)
    whole = max(trial.images or 0 for trial in trials)
    for trial in trials:
        # One that was given up early has an estimate for a score.
        known = trial.score is not None and (trial.images or 0) == whole
        within = searched.aimed.budget.allows(trial.cost)
        if known and within and (trial.score or 0.0) > (best.score or 0.0):
            best = trial
    return deliver_best(searched.run, searched.aimed, prepared, searched.result, best, searched.log)


def spread(budget: tuple[str, ...], aimed: Aimed, count: int) -> list[tuple[str, ...]]:
    """The budget and `count` - 1 more, in even steps towards the dense network's cost."""
    dense = aimed.priced.costs.dense

    def at(step: int, limit: Limit) -> str:
        share = limit.value / dense.value(limit.quantity)
        share += (1.0 - share) * step / count
        return f"{100 * share:.4g}{_SHARES[limit.quantity]}"

    steps = range(1, count)
    return [budget, *(tuple(at(step, limit) for limit in aimed.budget.limits) for step in steps)]


def _timed_first(budgets: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """A budget of time where there is one: prices of time are then what they have to be for it."""

    def is_timed(budget: tuple[str, ...]) -> bool:
        return any(parse_budget(text).quantity == "latency" for text in budget)

    return next(filter(is_timed, budgets), budgets[0])


def _aimed(aimed: Aimed, budget: tuple[str, ...]) -> Aimed:
    costs = aimed.priced.costs
    unit = aimed.priced.table.header.unit
    limits = resolve_budget(map(parse_budget, budget), costs.dense, costs.energy, unit)
    solve(costs, [np.zeros(size) for size in costs.space.sizes], limits)
    return replace(aimed, budget=limits)


def _run(request: SearchRequest, budget: tuple[str, ...]) -> SearchRequest:
    return replace(request, budget=budget, out=request.out / _folder(budget))


def _folder(budget: tuple[str, ...]) -> Path:
    words = "-".join(budget).replace("%", "pct")
    return Path(re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-."))
