"""Whether a score is no better than that of a network which ignores its input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from automl.study.chance import Constant, chance_level
from automl.userdata.data import Batches
from automl.userdata.scores import Confidence, Logits, top1_accuracy


class Sees(nn.Module):
    """Tells four classes by the largest of its inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return 20.0 * x


def labelled(images: int = 400) -> Batches:
    inputs = torch.rand(images, 4, generator=torch.Generator().manual_seed(0))
    return Batches(tuple((x, x.argmax(1)) for x in inputs.split(64)))


def test_a_constant_network_answers_the_mean_to_all() -> None:
    inputs = torch.arange(8.0).view(2, 4)
    assert Constant(Sees(), inputs)(torch.zeros(3, 4)).tolist() == [[40.0, 60.0, 80.0, 100.0]] * 3


def test_large_inputs_are_shown_to_the_dense_network_a_few_at_a_time() -> None:
    shown: list[int] = []

    class Twice(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            shown.append(len(x))
            return x[:, :2], x[:, 2:4]

    inputs = torch.rand(9, 1 << 20)  # 4 MB each
    one, other = Constant(Twice(), inputs)(inputs[:3])
    assert sum(shown) == 9
    assert max(shown) <= 4
    torch.testing.assert_close(one, inputs[:, :2].mean(0).expand(3, 2))
    torch.testing.assert_close(other, inputs[:, 2:4].mean(0).expand(3, 2))


@pytest.mark.parametrize("score", [top1_accuracy, Confidence()])
def test_chance_of_four_classes_is_about_a_quarter(score: Any) -> None:
    level = chance_level(-9e9, score, Sees(), labelled())
    assert level is not None
    assert 0.2 < level < 0.35
    assert chance_level(level, score, Sees(), labelled()) == level
    assert chance_level(level + 0.01, score, Sees(), labelled()) is None


def test_chance_of_logits_is_their_variance() -> None:
    level = chance_level(-9e9, Logits(Sees()), Sees(), labelled())
    assert level == pytest.approx(-1.0, abs=0.2)


def test_a_score_of_the_users_is_asked_as_well() -> None:
    def score(model: nn.Module, batches: Iterable[tuple[Tensor, Any]]) -> float:
        return -sum(float((model(x) - 20.0 * x).abs().mean()) for x, _ in batches)

    level = chance_level(-9e9, score, Sees(), labelled())
    assert level is not None
    assert level < 0.0


def test_nothing_is_said_where_the_dense_network_is_no_better_or_the_score_fails() -> None:
    wrong = Batches(tuple((x, (y + 1) % 4) for x, y in labelled()))
    assert chance_level(0.0, top1_accuracy, Sees(), wrong) is None

    def score(model: nn.Module, batches: Iterable[tuple[Tensor, Any]]) -> float:
        raise RuntimeError("of its own")

    assert chance_level(-9e9, score, Sees(), labelled()) is None
