"""The contracts of losses and starts refuse what breaks them."""

from __future__ import annotations

import pytest
from torch import Tensor

from automl.recovery import Step, Term
from automl.testing import TermContract


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
