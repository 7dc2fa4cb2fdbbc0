"""What searches of one network on one target share: prices, then all that scores a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from automl.compression import (
    CompressionConfig,
    Compressor,
    FeatureStore,
    PruningOrder,
    image_bytes,
    in_half,
    measure_sensitivity,
    room,
)
from automl.cost import Budget, resolve_budget
from automl.errors import OptionError
from automl.network import TracedModel, trace_network
from automl.options import SCORE_SECONDS
from automl.pipeline.exporting import check_exportable
from automl.pipeline.labelling import check_importance, labelled
from automl.pipeline.precision import floats_of, scheme_of
from automl.pipeline.pricing import PricedNetwork, price_network
from automl.pipeline.proxies import check_proxied, make_candidates
from automl.pipeline.requests import Event, OnEvent, SearchRequest, Task
from automl.solver import solve
from automl.space import Space, channel_counts
from automl.study import (
    Evaluator,
    Judgement,
    Known,
    Problem,
    Ranking,
    Sensitivity,
    judge_each,
    ranking,
    read_geometry,
    refit_in_the_loop,
)
from automl.units import parse_budget
from automl.userdata import ImageScore

#: Validation inputs that the sensitivity of each choice is measured on. On calibration inputs what
#: has fewer rows than columns seems to lose nothing: its weights were fitted to them.
SENSITIVITY_IMAGES = 16


class DenseScore:
    """The dense network's score on the data that results are judged on, found when it is asked for.

    Args:
        model: The dense network.
        task: The data and the score.
        seconds: How long the score may take.
        half: Whether the target computes in fp16.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        seconds: float = SCORE_SECONDS,
        *,
        half: bool = False,
    ) -> None:
        self._model, self._task, self._half = model, task, half
        self.seconds = seconds

    @cached_property
    def judged(self) -> Judgement:
        """The score, and what it is the mean of."""
        task, model = self._task, in_half(self._model) if self._half else self._model
        return judge_each(model, task.score, task.judged_on, seconds=self.seconds)

    @property
    def value(self) -> float:
        """The score."""
        return self.judged.score


@dataclass(frozen=True, slots=True)
class SearchContext:
    """Everything that a search needs but its budget. Searches with several budgets share one.

    Attributes:
        network: What was traced, with the prices of its choices on the target.
        compressor: Makes candidates from the compression database.
        sensitivity: What each choice does alone.
        ranking: What candidates are ranked by.
        evaluator: Scores candidates, and remembers what it found.
        dense: What the compressed network's score is told beside.
        shared: Whether other searches follow that need the compressor's features again.
    """

    network: PricedNetwork
    compressor: Compressor
    sensitivity: Sensitivity
    ranking: Ranking
    evaluator: Evaluator
    dense: DenseScore
    shared: bool = False

    def problem(self, budget: Budget, known: Sequence[Known] = ()) -> Problem:
        """What an agent is shown, with what was scored before for another budget."""
        network = self.network
        geometry = read_geometry(network.traced.network, network.space)
        return Problem(
            network.space,
            network.costs,
            budget,
            self.sensitivity,
            geometry,
            tuple(known),
            self.ranking.dense,
        )


@dataclass(frozen=True, slots=True)
class DenseReference:
    """What the dense network's scores say.

    Attributes:
        ranking: What candidates are ranked by.
        dense: What results are told beside.
    """

    ranking: Ranking
    dense: DenseScore


@dataclass(frozen=True, slots=True)
class Prepared:
    """What of a context is costly to make and small to hand round: tensors and arrays alone.

    Attributes:
        orders: Per channel group, what was found of it.
        sensitivity: What each choice does alone.
    """

    orders: Mapping[str, PruningOrder]
    sensitivity: Sensitivity


def trace_request(request: SearchRequest) -> TracedModel:
    """The request's model, traced, and found to be exportable as the target needs it.

    Where it is priced at another size than the data's, its resolution is not chosen: how much a
    smaller picture loses is not seen on crops.

    Raises:
        ModelError: The model does not run on its inputs, or cannot be exported.
        TargetError: The target is not known.
        OptionError: Resolutions to choose from where they cannot be judged.
    """
    task = request.task
    shown, resolutions = task.data.input_shape, request.resolutions
    if shown != task.input_shape:
        if resolutions:
            raise OptionError(
                "resolutions",
                "cannot be judged on inputs of another size than the network is priced at",
                options=("input_shape",),
            )
        resolutions = ()
    traced = trace_network(
        task.model, task.input_shape, resolutions=resolutions, shown=shown, seed=request.seed
    )
    check_exportable(traced, task, request)
    return traced


def price_request(
    request: SearchRequest,
    on_event: OnEvent,
    *,
    traced: TracedModel | None = None,
    keep: Path | None = None,
) -> PricedNetwork:
    """Trace the request's model and price its choices: all that a budget is told by.

    Args:
        request: What is searched.
        on_event: Told of progress.
        traced: The request's model where it was traced before.
        keep: File that a fitted overhead is kept in; None for the run folder's own.

    Raises:
        TargetError, TableError: The target is not known or cannot price the network.
        UsageError: Precisions that the target lacks, a limit of memory that is too small, or an
            importance that lacks what it needs.
    """
    on_event(Event("reading the network", 0, 1))
    traced = traced or trace_request(request)
    check_weights(request, traced)
    return price_network(
        traced,
        request,
        on_event=on_event,
        keep=keep or request.out / "overhead.json",
    )


def check_weights(request: SearchRequest, traced: TracedModel) -> None:
    """Refuse what no weights can be made by, before anything costly is done.

    Raises:
        UsageError: An importance or a proxy that lacks what it needs, or a limit of memory that is
            too small.
    """
    check_importance(request, traced)
    check_proxied(request, traced)
    _room(request, image_bytes(traced.trace))


def reachable_budget(network: PricedNetwork, texts: Sequence[str]) -> Budget:
    """A budget as written, in absolute terms.

    Raises:
        InfeasibleError: No policy is within it; names the smallest cost.
        UsageError: A limit that the target cannot be held to.
    """
    costs, unit = network.costs, network.table.header.unit
    budget = resolve_budget(map(parse_budget, texts), costs.dense, costs.energy, unit)
    solve(network.costs, [np.zeros(size) for size in network.space.sizes], budget)
    return budget


def make_reference(
    traced: TracedModel, request: SearchRequest, *, half: bool = False
) -> DenseReference:
    """Score the dense network on validation data; on what results are judged on as fp16 if so.

    A score of the user's own is asked at once: what is wrong with it is said before work is spent.

    Raises:
        DataError: Targets that the default score cannot read; a score of the user's own that fails
            or takes too long.
    """
    task = request.task
    ranked = ranking(task.score, traced.model, task.data.validation)
    dense = DenseScore(traced.model, task, request.score_timeout, half=half)
    if not isinstance(task.score, ImageScore):
        _ = dense.value
    return DenseReference(ranked, dense)


def make_context(
    network: PricedNetwork,
    request: SearchRequest,
    on_event: OnEvent,
    *,
    prepared: Prepared | None = None,
    features: FeatureStore | None = None,
    reference: DenseReference | None = None,
) -> SearchContext:
    """Make the compression database, and measure what each choice does alone.

    Args:
        network: What is searched, priced.
        request: Its data, and by what weights are made.
        on_event: Told of progress.
        prepared: What another context of the same network, data and request has found.
        features: Where the dense network's features are kept, as for `Compressor`.
        reference: What the dense network's scores say, where other contexts of the same task have
            asked for it.

    Raises:
        DataError: Targets that the default score cannot read.
        QuantizationError: Activations that are constant or not finite; names the layer.
    """
    if reference is None:
        half = floats_of(network.table.header) == "fp16"
        reference = make_reference(network.traced, request, half=half)
    scheme = scheme_of(network.table.header)
    compressor = make_compressor(
        network.traced,
        network.space,
        scheme,
        request,
        on_event,
        orders=None if prepared is None else prepared.orders,
        features=features,
    )
    if prepared is None:
        compressor.library.train(
            network.space, lambda done, total: on_event(Event("distilling blocks", done, total))
        )
    sensitivity = (
        measure_sensitivity(
            compressor.database,
            network.space,
            request.task.data.validation.head(SENSITIVITY_IMAGES).inputs,
            rounded=compressor.joint,
            merging=compressor.merging,
            library=compressor.library,
            on_choice=lambda done, total: on_event(Event("sensitivity", done, total)),
        )
        if prepared is None
        else prepared.sensitivity
    )
    score, validation = reference.ranking.score, request.task.data.validation
    settings = refit_in_the_loop(network.costs.dense.macs)
    candidates = make_candidates(request, compressor, network.space, settings, on_event)
    evaluator = Evaluator(
        compressor, validation, score, settings, seed=request.seed, candidates=candidates
    )
    return SearchContext(
        network, compressor, sensitivity, reference.ranking, evaluator, reference.dense
    )


def make_compressor(
    traced: TracedModel,
    space: Space,
    scheme: str | None,
    request: SearchRequest,
    on_event: OnEvent,
    *,
    orders: Mapping[str, PruningOrder] | None = None,
    features: FeatureStore | None = None,
) -> Compressor:
    """The maker of a space's candidates, quantised by a scheme (None for simulators).

    `orders` and `features` are as for `Compressor`.
    """
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
    images = labelled(request.task.data.calibration)
    config = config_of(request)
    made = Compressor(
        traced,
        images,
        counts,
        config=config,
        scheme=scheme,
        on_group=told,
        orders=orders,
        features=features,
    )
    made.library.keep(request.out / "library")
    return made


def config_of(request: SearchRequest) -> CompressionConfig:
    """By what the search's weights are made, and its calibration inputs were read."""
    return CompressionConfig(
        importance=request.importance,
        compensation=request.compensation,
        reconstruction=request.reconstruction,
        quantization=request.quantization,
        calibration=request.calibration,
        seed=request.seed,
        memory=_room(request),
    )


def _room(request: SearchRequest, most: int = 0) -> int:
    """What of the limit is left for passes over images, of which one takes so many bytes inside.

    Raises:
        UsageError: Too little; says what limit would do.
    """
    data = request.task.data
    parts = (data.calibration, data.validation, data.test)
    images = sum(part.by_number.nbytes for part in parts if part is not None)
    return room(request.memory, request.task.model, images, most)
