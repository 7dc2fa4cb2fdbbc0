"""Half of a Gaussian: its best step, and gentle gradients."""

from __future__ import annotations

import pytest
import torch
from roundings import drawn, seen

from automl.errors import UsageError
from automl.recovery.base import Levels
from automl.recovery.quantizers.hwgq import HalfWave, HalfWaveLevels, best_step
from automl.recovery.quantizers.lsq import ActivationStep
from automl.testing import TrainedQuantizerContract


class TestHwgq(TrainedQuantizerContract):
    name = "hwgq"


def test_the_step_of_two_bits_is_that_of_the_paper_and_beats_the_largest_value() -> None:
    assert best_step(3) == pytest.approx(0.538, abs=0.13)  # the paper's, by Lloyd of few samples
    values = drawn(columns=20_000).clamp_min(0).flatten()
    rounding = HalfWave().activations(seen(values))
    step, levels = rounding.frozen().scale, Levels(0, 3)

    def error(step: float) -> float:
        return float((levels.nearest(values / step) * step - values).square().mean())

    assert error(step) < 0.5 * error(float(values.max()) / 3)
    assert error(step) <= 1.02 * min(error(0.01 * each) for each in range(20, 150))


@pytest.mark.parametrize(("tail", "beyond"), [("clipped", 0.0), ("vanilla", 1.0), ("log", 0.5)])
def test_gradients_beyond_the_largest_level(tail: str, beyond: float) -> None:
    values = torch.tensor([-1.0, 0.3, 0.0])
    rounding = HalfWaveLevels(seen(values), 1.0, tail)
    values[2] = 3 * best_step(3) + 1
    values.requires_grad_()
    rounding(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0.0, 1.0, beyond])


def test_values_of_both_signs_are_rounded_by_lsq() -> None:
    assert isinstance(HalfWave().activations(seen(drawn(), low=-4)), ActivationStep)


def test_a_tail_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no tail 'cliped'.*clipped"):
        HalfWave("cliped")
