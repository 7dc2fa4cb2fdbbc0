"""The interval is learned: what is pruned, and what is clipped."""

from __future__ import annotations

import torch
from roundings import drawn, given

from automl.recovery.quantizers.qil import Interval, TrainedIntervals
from automl.testing import TrainedQuantizerContract


class TestQil(TrainedQuantizerContract):
    name = "qil"


def made() -> tuple[Interval, torch.Tensor]:
    told = given(drawn(), 4, 4)
    rounding = TrainedIntervals().weights(told)
    assert isinstance(rounding, Interval)
    return rounding, told.weights


def test_it_begins_as_the_post_training_network() -> None:
    rounding, weights = made()
    torch.testing.assert_close(rounding(weights).detach(), weights)


def test_weights_below_the_interval_are_zero_and_above_it_the_largest() -> None:
    rounding, _ = made()
    dense = drawn()
    units = dense.abs() / rounding.get_buffer("_range")
    with torch.no_grad():
        rounding.middle.fill_(0.5)
        rounding.reach.fill_(0.2)
    codes = (rounding(dense) / rounding.size).detach().abs().round()
    assert (codes[units < 0.3] == 0).all()
    assert (codes[units > 0.7] == 7).all()
    assert (units < 0.3).any()


def test_both_ends_are_learned_by_the_loss() -> None:
    rounding, _ = made()
    dense = drawn().requires_grad_()
    rounding(dense).square().sum().backward()
    for each in (rounding.middle, rounding.reach, rounding.size):
        assert each.grad is not None
        assert each.grad.abs().max() > 0
