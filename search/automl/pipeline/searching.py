"""One search from a request to a policy whose latency was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from automl.pipeline.context import (
    SearchContext,
    make_context,
    price_request,
    reachable_budget,
)
from automl.pipeline.integers import priced_or_floats
from automl.pipeline.measure_loop import search_measured
from automl.pipeline.ownership import open_run
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.requests import OnEvent, SearchRequest, SearchResult, ignore
from automl.pipeline.results import finish_dense
from automl.pipeline.running import reached, run_search
from automl.pipeline.sharing import Sharing
from automl.pipeline.staging import in_stages, search_in_stages
from automl.policy import Policy
from automl.study import Problem


def search(
    request: SearchRequest, on_event: OnEvent = ignore, sharing: Sharing | None = None
) -> SearchResult:
    """Find, finish, measure and write the best policy within the budget.

    In stages, with training after each, where the request asks for that. A budget that cannot be
    met, and one that the dense network meets, are found before anything costly is done.

    Args:
        request: What is searched.
        on_event: Told of progress.
        sharing: What other searches have made, and may use after this one; None for nothing.

    Raises:
        AutomlError: What the user can mend, in one line each; `InfeasibleError` names the
            smallest cost where the budget cannot be met.
    """
    if in_stages(request):
        return search_in_stages(request, on_event, search)
    with open_run(request, on_event) as log, reached(request):
        price = price_request if sharing is None else sharing.price
        asked, network = priced_or_floats(lambda each: price(each, log), request)

        def context(network: PricedNetwork) -> SearchContext:
            made = make_context if sharing is None else sharing.context
            return made(network, asked, log)

        if asked.measure or network.adaptive:
            return search_measured(network, asked, log, context)
        budget = reachable_budget(network, asked.budget)
        if budget.allows(network.costs.dense):
            return finish_dense(network, asked, log)
        return run_search(context(network), budget, asked, log)


@dataclass(frozen=True, slots=True)
class Preparation:
    """All that comes before a search.

    Attributes:
        problem: What is chosen from, its prices, the budget, and what each choice does alone.
        make: The network of a policy, refitted, in evaluation mode; of integers, a
            `QuantizedModel`.
        evaluate: The score that a search would give a policy.
    """

    problem: Problem
    make: Callable[[Policy], nn.Module]
    evaluate: Callable[[Policy], float]


def prepare(request: SearchRequest, on_event: OnEvent = ignore) -> Preparation:
    """All that a search does before its study.

    Raises:
        AutomlError: As `search`.
    """
    request, network = priced_or_floats(lambda each: price_request(each, on_event), request)
    budget = reachable_budget(network, request.budget)
    context = make_context(network, request, on_event)
    return Preparation(context.problem(budget), context.compressor.make, context.evaluator)
