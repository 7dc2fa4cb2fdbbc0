"""A context is complete when it is made, and what is made before it costs nothing much."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tiny import request, write_table
from torch import Tensor

from automl.compression import measure_sensitivity
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError, OptionError, UsageError
from automl.pipeline import make_context, price_request, reachable_budget
from automl.pipeline.context import trace_request
from automl.pipeline.pricing import PricedNetwork
from automl.pipeline.requests import Event, SearchRequest, ignore


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> SearchRequest:
    folder = tmp_path_factory.mktemp("context")
    return request(write_table(folder / "board.jsonl"), folder / "run", "60%")


@pytest.fixture(scope="module")
def network(asked: SearchRequest) -> PricedNetwork:
    return price_request(asked, ignore)


def test_a_context_has_no_part_that_is_made_later(
    asked: SearchRequest, network: PricedNetwork
) -> None:
    stages: Counter[str] = Counter()

    def count(event: Event) -> None:
        stages[event.stage] += event.done == 0

    context = make_context(network, asked, count)
    for value in (network, context):
        parts: dict[str, Any] = {
            field.name: getattr(value, field.name) for field in dataclasses.fields(value)
        }
        unknown = {name for name, part in parts.items() if part is None}
        assert unknown <= {"error"}  # of the predictions: not known for a table without a fit
    assert context.network is network
    assert stages["calibrating"] == 1
    sizes = [len(each) for each in context.sensitivity.single]
    assert sizes == list(network.space.sizes)
    policy = network.space.decode(network.space.dense)
    assert context.evaluator(policy) == pytest.approx(0.0, abs=1e-6)


def test_sensitivity_is_measured_on_inputs_that_no_weights_were_fitted_to(
    asked: SearchRequest, network: PricedNetwork
) -> None:
    context, data = make_context(network, asked, ignore), asked.task.data
    made = context.compressor

    def rows(images: Tensor) -> list[list[float]]:
        found = measure_sensitivity(made.database, network.space, images, rounded=made.joint)
        return [row.tolist() for row in found.single]

    wanted = [row.tolist() for row in context.sensitivity.single]
    assert wanted == rows(data.validation.head(16).inputs)
    assert wanted != rows(data.calibration.head(16).inputs)


def test_budgets_share_a_context_and_differ_in_their_problems(
    asked: SearchRequest, network: PricedNetwork
) -> None:
    context = make_context(network, asked, ignore)
    budgets = [Budget((Limit("macs", share * network.costs.dense.macs),)) for share in (0.4, 0.7)]
    problems = [context.problem(budget) for budget in budgets]
    assert [problem.budget for problem in problems] == budgets
    assert all(problem.costs is network.costs for problem in problems)
    assert all(problem.sensitivity is context.sensitivity for problem in problems)
    assert all(len(problem.geometry) == len(network.space.variables) for problem in problems)
    dearer = dataclasses.replace(network, costs=price_request(asked, ignore).costs)
    again = dataclasses.replace(context, network=dearer)
    assert again.problem(budgets[0]).costs is dearer.costs
    assert again.evaluator is context.evaluator


def test_pricing_calibrates_nothing(asked: SearchRequest) -> None:
    stages: set[str] = set()
    price_request(asked, lambda event: stages.add(event.stage))
    assert stages == {"reading the network"}


def test_a_budget_is_made_absolute_and_known_to_be_reachable(network: PricedNetwork) -> None:
    (limit,) = reachable_budget(network, ("60%",)).limits
    assert limit.quantity == "latency"
    assert limit.value == pytest.approx(0.6 * network.costs.dense.latency)
    with pytest.raises(InfeasibleError, match="the least is"):
        reachable_budget(network, ("0.1%",))
    with pytest.raises(UsageError, match="joules"):
        reachable_budget(network, ("50%energy",))


def test_the_prices_are_those_of_the_requests_choices(asked: SearchRequest) -> None:
    whole = price_request(dataclasses.replace(asked, depth=False, resolutions=()), ignore)
    assert {variable.kind for variable in whole.space.variables} == {"channels"}
    work = price_request(dataclasses.replace(asked, budget=("50%MACs",), round_to=None), ignore)
    assert np.isfinite(work.costs.dense.macs)
    counts = [len(each.options) for each in work.space.variables if each.kind == "channels"]
    assert max(counts) == 16  # every count is as good where no time is limited


def test_the_resolution_is_not_chosen_where_the_data_is_of_another_size(
    asked: SearchRequest,
) -> None:
    larger = dataclasses.replace(asked.task, input_shape=(1, 3, 24, 24))
    frames = dataclasses.replace(asked, task=larger, resolutions=None)
    assert trace_request(frames).network.resolutions == (24,)
    assert trace_request(dataclasses.replace(frames, resolutions=())).network.resolutions == (24,)
    with pytest.raises(
        OptionError, match="resolutions: cannot be judged on inputs of another size"
    ):
        trace_request(dataclasses.replace(frames, resolutions=(12, 16)))
