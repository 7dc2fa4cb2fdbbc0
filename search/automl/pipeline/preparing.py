"""What a search needs before its study: a network, prices, a budget, and a maker of candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from automl.compression import Compressor, measure_sensitivity
from automl.cost import Budget, resolve_budget
from automl.network import TracedModel, trace_network
from automl.pipeline.precision import scheme_of
from automl.pipeline.pricing import Choices, Priced, price
from automl.pipeline.requests import Event, OnEvent, SearchRequest
from automl.solver import solve
from automl.space import channel_counts
from automl.study import Evaluate, Evaluator, Problem, Ranking, ranking, read_geometry
from automl.units import Quantity, parse_budget

#: Calibration images that the sensitivity of each choice is measured on.
SENSITIVITY_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Aimed:
    """A network with its prices, the budget in absolute terms, and what candidates are ranked by.

    The ranking is None until policies can be scored.
    """

    traced: TracedModel
    priced: Priced
    budget: Budget
    ranking: Ranking | None = None

    @property
    def met(self) -> bool:
        """Whether the dense network is within the budget as it is."""
        return self.budget.allows(self.priced.costs.dense)


def aim(request: SearchRequest, on_event: OnEvent) -> Aimed:
    """Read the network, price it, and make the budget absolute.

    Raises:
        InfeasibleError: The budget cannot be met; found before anything costly is done.
        UsageError: Precisions that the target lacks, or a budget that it cannot be held to.
    """
    task, limits = request.task, [parse_budget(text) for text in request.budget]
    limited: frozenset[Quantity] = frozenset(limit.quantity for limit in limits)
    on_event(Event("reading the network", 0, 1))
    traced = trace_network(
        task.model, task.input_shape, resolutions=request.resolutions, seed=request.seed
    )
    priced = price(
        traced,
        request.target,
        Choices(
            request.round_to,
            request.depth,
            request.resolutions,
            request.precisions,
            request.keep_first_last,
            limited,
        ),
        threads=request.threads,
        timed="latency" in limited,
        seed=request.seed,
        on_event=on_event,
        keep=request.out / "overhead.json",
    )
    costs, unit = priced.costs, priced.table.header.unit
    budget = resolve_budget(limits, costs.dense, costs.energy, unit)
    solve(priced.costs, [np.zeros(size) for size in priced.space.sizes], budget)
    return Aimed(traced, priced, budget)


def prepare(aimed: Aimed, request: SearchRequest, on_event: OnEvent) -> tuple[Compressor, Problem]:
    """Make the compression database, and measure what each choice does alone."""
    priced = aimed.priced
    compressor = compressor_of(aimed.traced, priced, request, on_event)
    sensitivity = measure_sensitivity(
        compressor.database,
        priced.space,
        compressor.images[:SENSITIVITY_IMAGES],
        rounded=compressor.joint,
        on_choice=lambda done, total: on_event(Event("sensitivity", done, total)),
    )
    geometry = read_geometry(aimed.traced.network, priced.space)
    return compressor, Problem(priced.space, priced.costs, aimed.budget, sensitivity, geometry)


def compressor_of(
    traced: TracedModel, priced: Priced, request: SearchRequest, on_event: OnEvent
) -> Compressor:
    """The maker of candidates for a space, in the form of its target."""
    counts = {
        variable.name: channel_counts(variable)
        for variable in priced.space.variables
        if variable.kind == "channels"
    }
    done: list[str] = []

    def told(name: str) -> None:
        done.append(name)
        on_event(Event("ranking channels", len(done), len(counts)))

    on_event(Event("calibrating", 0, 1))
    images = request.task.data.calibration.inputs
    scheme = scheme_of(priced.table.header)
    return Compressor(traced, images, counts, seed=request.seed, scheme=scheme, on_group=told)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What searches of one network on one target share, whatever their budgets.

    Attributes:
        compressor: The compression database.
        problem: With the budget of the first search.
        ranking: What candidates are ranked by.
        evaluate: Scores, those found before remembered.
    """

    compressor: Compressor
    problem: Problem
    ranking: Ranking
    evaluate: Evaluate


def prepare_scores(aimed: Aimed, request: SearchRequest, on_event: OnEvent) -> Prepared:
    """All that has to be made before policies can be scored."""
    validation = request.task.data.validation
    judged = ranking(request.task.score, aimed.traced.model, validation)
    compressor, problem = prepare(aimed, request, on_event)
    evaluate = Evaluator(compressor, validation, judged.score, seed=request.seed)
    return Prepared(compressor, problem, judged, evaluate)
