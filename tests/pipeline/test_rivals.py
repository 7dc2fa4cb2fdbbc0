"""A narrow win of a smaller input is decided by what the finishing step makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automl.pipeline import rivals
from automl.pipeline.rivals import finish_best, rivals_of
from automl.policy.policy import Policy
from automl.study.loop import StudyResult
from automl.study.problem import Completed

IMAGES = 400
RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal(IMAGES)
#: Per resolution (0 is the dense one, of 32), the scores of one policy input by input.
VALUES: dict[int, NDArray[np.float64]] = {
    0: 0.90 + 0.1 * RNG.standard_normal(IMAGES),
    28: 0.901 + 0.1 * NOISE,
    24: 0.5 + 0.1 * RNG.standard_normal(IMAGES),
}


def trial(resolution: int, images: int = IMAGES, **changes: Any) -> Completed:
    policy = Policy(resolution=resolution)
    cost: Any = None
    return Completed(0, policy, cost, 1.0, float(VALUES[resolution].mean()), images, **changes)


class Evaluator:
    validation = None

    def __init__(self, values: dict[int, NDArray[np.float64]] = VALUES) -> None:
        self.found: dict[Policy, NDArray[np.float64]] = {}
        self.values = values

    def evaluate_against(self, policy: Policy, incumbent: Policy | None) -> None:
        self.found[policy] = self.values[policy.resolution]

    def recall(self, policy: Policy) -> NDArray[np.float64]:
        return self.found.get(policy, np.empty(0))


class Made(nn.Module):
    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(1)


def context(evaluator: Evaluator) -> Any:
    network = SimpleNamespace(
        traced=SimpleNamespace(network=SimpleNamespace(resolutions=(24, 28, 32)))
    )
    compressor = SimpleNamespace(
        make=lambda policy: Made(policy.resolution), forget=lambda but: None
    )
    ranking = SimpleNamespace(score=None)
    return SimpleNamespace(
        network=network,
        evaluator=evaluator,
        compressor=compressor,
        ranking=ranking,
        dense=SimpleNamespace(seconds=9.0),
        shared=False,
    )


def study(trials: Sequence[Completed], **changes: Any) -> Any:
    return SimpleNamespace(trials=trials, interrupted=False, **changes)


def test_a_larger_input_that_is_not_clearly_beaten_is_a_rival() -> None:
    trials = [trial(0), trial(28), trial(24)]
    assert rivals_of(context(Evaluator()), study(trials), trials[1]) == [trials[0]]


def test_a_clear_win_is_not_questioned_and_nothing_smaller_is_a_rival() -> None:
    clearly = {**VALUES, 0: VALUES[28] - 0.05}
    trials = [trial(0), trial(28)]
    assert rivals_of(context(Evaluator(clearly)), study(trials), trials[1]) == []
    assert rivals_of(context(Evaluator()), study(trials), trials[0]) == []


def test_what_was_given_up_early_or_has_no_value_an_input_is_none() -> None:
    trials = [trial(0, images=64), trial(28)]
    assert rivals_of(context(Evaluator()), study(trials), trials[1]) == []
    alone = {key: each[:1] for key, each in VALUES.items()}
    trials = [trial(0), trial(28)]
    assert rivals_of(context(Evaluator(alone)), study(trials), trials[1]) == []
    interrupted: StudyResult = study(trials)
    interrupted.interrupted = True  # type: ignore[misc]
    assert rivals_of(context(Evaluator()), interrupted, trials[1]) == []


@pytest.mark.parametrize(("dense", "wins"), [(0.95, 0), (0.90, 28)])
def test_the_finished_network_that_scores_best_is_taken(
    monkeypatch: pytest.MonkeyPatch, dense: float, wins: int
) -> None:
    scores = {0: dense, 28: 0.93}

    def judge(
        model: Made, score: object, data: object, resolution: int, *, seconds: float
    ) -> float:
        assert seconds == 9.0
        assert model.resolution == resolution
        return scores[resolution]

    monkeypatch.setattr(rivals, "judge", judge)
    best, model = finish_best(context(Evaluator()), trial(28), [trial(0)])
    assert best.policy.resolution == wins
    assert isinstance(model, Made)
    assert model.resolution == wins


def test_without_a_rival_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(rivals, "judge")
    best, _ = finish_best(context(Evaluator()), trial(28), [])
    assert best.policy.resolution == 28
