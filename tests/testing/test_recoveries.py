"""The contracts of losses and starts refuse what breaks them."""

from __future__ import annotations

import pytest
from torch import Tensor

from automl.recovery import Levels, Step, Term, TrainedQuantizer
from automl.testing import TermContract, TrainedQuantizerContract


class Wrong(Term):
    """Grows with what the student learns, and from batch to batch."""

    calls = 0

    def __call__(self, step: Step) -> Tensor:
        Wrong.calls += 1
        return step.found[0].square().mean().detach().requires_grad_() + Wrong.calls


def test_a_loss_that_teaches_nothing_is_refused() -> None:
    class Mine(TermContract):
        name = "wrong"

    mine = Mine()
    mine.make = Wrong  # type: ignore[method-assign]
    for promise in (
        mine.test_it_is_a_finite_number_that_reaches_the_weights,
        mine.test_the_same_batch_gives_the_same_loss,
        mine.test_steps_make_it_smaller_and_leave_the_dense_network_alone,
    ):
        with pytest.raises(AssertionError):
            promise()


class Loose(TrainedQuantizer):
    """Rounds in place and down, half of the time, and gives no gradient to steps."""

    calls = 0

    def __call__(self, values: Tensor, step: Tensor, levels: Levels, sharing: int) -> Tensor:
        Loose.calls += 1
        held = step.detach()
        values.data.copy_((values.detach() / held).floor() * held + Loose.calls)
        return values * 1.0


def test_rounding_that_is_none_is_refused() -> None:
    class Mine(TrainedQuantizerContract):
        name = "loose"

    mine = Mine()
    mine.make = Loose  # type: ignore[method-assign]
    for promise in (
        mine.test_values_are_the_nearest_integers_of_the_range_times_the_step,
        mine.test_gradients_of_values_and_steps_are_finite_and_not_all_zero,
        mine.test_the_same_values_are_rounded_the_same_and_stay_as_they_are,
    ):
        with pytest.raises(AssertionError):
            promise()
