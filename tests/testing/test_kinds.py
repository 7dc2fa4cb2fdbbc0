"""The made-up choice tempts; the contract holds a toy kind, and finds out what breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from automl.network.layers import Layer
from automl.solver.exact import solve
from automl.space import KINDS
from automl.space.kind import ChoiceKind
from automl.testing import MADE_UP, KindContract, made_problem, with_made_up_kind
from toy_kind import TAPER, TaperKind, known


class TestTaper(KindContract):
    name = "taper"

    @pytest.fixture(autouse=True)
    def _known(self) -> Iterator[None]:
        with known():
            yield


class Mute(TaperKind):
    """Writes all options alike."""

    def write(self, form: int) -> str:
        return "rank 1"


class Cheap(TaperKind):
    """Tells of operators that are smaller than what it makes."""

    def operators(self, form: int, layer: Layer) -> tuple[Layer, ...]:
        return super().operators(max(1, form - 1), layer)


class Other(TaperKind):
    """Makes a layer of another rank than the one that is measured."""

    def replacement(self, form: int, module: Any) -> Any:
        return super().replacement(1, module)


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Mute, "every_option_is_read_as_it_is_written"),
        (Cheap, "it_costs_what_is_made"),
        (Other, "its_model_computes_what_was_measured"),
    ],
)
def test_who_breaks_a_promise_is_found_out(kind: type[ChoiceKind[Any]], promise: str) -> None:
    maker = f"{kind.__module__}:{kind.__name__}"
    with KINDS.including(replace(TAPER, maker=maker)), pytest.raises(AssertionError):
        getattr(TestTaper(), f"test_{promise}")()


def test_held_dense_the_problem_is_as_it_was() -> None:
    problem = made_problem(5)
    with KINDS.including(MADE_UP):
        more = with_made_up_kind(problem)
    vectors = problem.space.random(50, np.random.default_rng(0))
    held = np.concatenate([vectors, np.full((50, 1), 2, dtype=np.int16)], axis=1)
    before, after = problem.costs.price(vectors), more.costs.price(held)
    np.testing.assert_allclose(after[:, 1], before[:, 1] + 0.2 * problem.costs.dense.macs)
    fits = problem.budget.allows_all(before)
    assert fits.tolist() == more.budget.allows_all(after).tolist()
    assert 0 < fits.sum() < 50


def test_the_best_policy_makes_the_choice() -> None:
    with KINDS.including(MADE_UP):
        more = with_made_up_kind(made_problem(5))
        assert more.sensitivity is not None
        found = solve(more.costs, more.sensitivity.single, more.budget)
        assert found.vector[-1] == 0
        assert more.space.decode(found.vector).further == {"made-up": {"part": "least"}}
