"""Standard errors are those of the inputs, and are not known where no input has a score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from automl.study.judging import Judgement, judge, judge_each
from automl.userdata import Batches, checked_score, psnr, top1_accuracy


class Shifted(nn.Module):
    """Its input, moved by so much."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


def batches(count: int = 40) -> Batches:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 4, generator=generator)
    return Batches(((x[:25], x[:25] + 0.1 * x[:25].roll(1, 0)), (x[25:], x[25:] ** 2)))


def near(model: nn.Module, shown: Iterable[tuple[Tensor, Any]]) -> Tensor:
    """Minus the squared error, an input."""
    return torch.cat([-(model(x) - y).square().mean(1) for x, y in shown])


def test_of_a_mean_it_is_the_spread_over_the_inputs() -> None:
    own = checked_score(near, "near")
    found = judge_each(Shifted(0.1), own, batches())
    each = near(Shifted(0.1), batches()).double().numpy()
    assert found.score == pytest.approx(each.mean())
    assert found.error == pytest.approx(each.std(ddof=1) / 40**0.5)


def test_of_pictures_and_classes_as_well() -> None:
    pictures = judge_each(Shifted(0.1), psnr, batches())
    x, y = batches().inputs, torch.cat([each for _, each in batches()])
    each = -10 * (x + 0.1 - y).double().square().mean(1).log10()
    assert pictures.error == pytest.approx(float(each.std()) / 40**0.5, rel=1e-5)
    assert pictures.score == judge(Shifted(0.1), psnr, batches())
    labels = Batches(((x, torch.arange(40) % 4),))
    right = judge_each(Shifted(0.0), top1_accuracy, labels)
    share = right.score
    assert 0.0 < share < 1.0
    assert right.error == pytest.approx((share * (1 - share) / 39) ** 0.5)


def test_a_difference_is_compared_input_by_input() -> None:
    own = checked_score(near, "near")
    one, other = (judge_each(Shifted(by), own, batches()) for by in (0.1, 0.11))
    assert one.values is not None
    assert other.values is not None
    found = other.error_beside(one)
    assert found == pytest.approx(np.std(other.values - one.values, ddof=1) / 40**0.5)
    assert found is not None
    assert one.error is not None
    assert found < 0.5 * one.error  # inputs that are hard for one are hard for the other
    assert one.error_beside(one) == 0.0


def test_of_one_number_for_all_inputs_nothing_is_known() -> None:
    whole = checked_score(lambda model, shown: float(near(model, shown).mean()), "near")
    found = judge_each(Shifted(0.1), whole, batches())
    assert found.values is None
    assert found.error is None
    each = judge_each(Shifted(0.1), checked_score(near, "near"), batches())
    assert found.error_beside(each) is None
    assert each.error_beside(found) is None


def test_one_input_has_no_spread() -> None:
    assert Judgement(0.5, np.array([0.5])).error is None
    assert Judgement(0.5, np.zeros(3)).error_beside(Judgement(0.5, np.zeros(4))) is None
