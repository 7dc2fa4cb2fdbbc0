"""What searches of one network on one target share: prices, then all that scores a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from automl.compression import CompressionConfig, Compressor, measure_sensitivity
from automl.cost import Budget, resolve_budget
from automl.network import TracedModel, trace_network
from automl.pipeline.precision import scheme_of
from automl.pipeline.pricing import PricedNetwork, price_network
from automl.pipeline.requests import Event, OnEvent, SearchRequest
from automl.solver import solve
from automl.space import Space, channel_counts
from automl.study import Evaluator, Problem, Ranking, Sensitivity, ranking, read_geometry
from automl.units import parse_budget

#: Calibration images that the sensitivity of each choice is measured on.
SENSITIVITY_IMAGES = 16


@dataclass(frozen=True, slots=True)
class SearchContext:
    """Everything that a search needs but its budget. Searches with several budgets share one.

    Attributes:
        network: What was traced, with the prices of its choices on the target.
        compressor: Makes candidates from the compression database.
        sensitivity: What each choice does alone.
        ranking: What candidates are ranked by.
        evaluator: Scores candidates, and remembers what it found.
    """

    network: PricedNetwork
    compressor: Compressor
    sensitivity: Sensitivity
    ranking: Ranking
    evaluator: Evaluator

    def problem(self, budget: Budget) -> Problem:
        """What an agent is shown."""
        network = self.network
        geometry = read_geometry(network.traced.network, network.space)
        return Problem(network.space, network.costs, budget, self.sensitivity, geometry)


def price_request(request: SearchRequest, on_event: OnEvent) -> PricedNetwork:
    """Trace the request's model and price its choices: all that a budget is told by.

    Raises:
        TargetError, TableError: The target is not known or cannot price the network.
        UsageError: Precisions that the target lacks.
    """
    task = request.task
    on_event(Event("reading the network", 0, 1))
    traced = trace_network(
        task.model, task.input_shape, resolutions=request.resolutions, seed=request.seed
    )
    return price_network(traced, request, on_event=on_event, keep=request.out / "overhead.json")


def reachable_budget(network: PricedNetwork, texts: Sequence[str]) -> Budget:
    """A budget as written, in absolute terms.

    Raises:
        InfeasibleError: No policy is within it; names the smallest cost.
        UsageError: A limit that the target cannot be held to.
    """
    costs, unit = network.costs, network.table.header.unit
    budget = resolve_budget(map(parse_budget, texts), costs.dense, costs.energy, unit)
    solve(costs, [np.zeros(size) for size in network.space.sizes], budget)
    return budget


def make_context(
    network: PricedNetwork, request: SearchRequest, on_event: OnEvent
) -> SearchContext:
    """Make the compression database, and measure what each choice does alone.

    Raises:
        DataError: Targets that the default score cannot read.
        QuantizationError: Activations that are constant or not finite; names the layer.
    """
    validation = request.task.data.validation
    judged = ranking(request.task.score, network.traced.model, validation)
    scheme = scheme_of(network.table.header)
    compressor = make_compressor(network.traced, network.space, scheme, request, on_event)
    sensitivity = measure_sensitivity(
        compressor.database,
        network.space,
        compressor.images[:SENSITIVITY_IMAGES],
        rounded=compressor.joint,
        on_choice=lambda done, total: on_event(Event("sensitivity", done, total)),
    )
    evaluator = Evaluator(compressor, validation, judged.score, seed=request.seed)
    return SearchContext(network, compressor, sensitivity, judged, evaluator)


def make_compressor(
    traced: TracedModel,
    space: Space,
    scheme: str | None,
    request: SearchRequest,
    on_event: OnEvent,
) -> Compressor:
    """The maker of a space's candidates, quantised by a scheme (None for simulators)."""
    counts = {
        variable.name: channel_counts(variable)
        for variable in space.variables
        if variable.kind == "channels"
    }
    done: list[str] = []

    def told(name: str) -> None:
        done.append(name)
        on_event(Event("ranking channels", len(done), len(counts)))

    on_event(Event("calibrating", 0, 1))
    images = request.task.data.calibration.inputs
    config = config_of(request)
    return Compressor(traced, images, counts, config=config, scheme=scheme, on_group=told)


def config_of(request: SearchRequest) -> CompressionConfig:
    """By what the search's weights are made, and its calibration inputs were read."""
    return CompressionConfig(
        importance=request.importance,
        reconstruction=request.reconstruction,
        quantization=request.quantization,
        calibration=request.calibration,
        seed=request.seed,
    )
