"""The contracts of losses and starts refuse what breaks them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from automl.compression import ActivationQParams, Codebook, QParams
from automl.policy import Bits
from automl.recovery import (
    ActivationRounding,
    GivenActivations,
    GivenWeights,
    Step,
    Term,
    TrainedQuantizer,
    WeightRounding,
)
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


class Half(WeightRounding):
    """Draws by torch's own chance, exports something else, and gives no gradient."""

    def forward(self, weights: Tensor) -> Tensor:
        weights.data.add_(1)
        return (weights * torch.rand_like(weights)).detach() + 0 * weights

    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams | Codebook]:
        return weights, QParams(torch.ones(2, 4, 1), 4)


class Loose(TrainedQuantizer):
    """Rounds nothing."""

    def refusal(self, bits: Bits) -> str:
        return "it rounds nothing"

    def weights(self, given: GivenWeights) -> WeightRounding:
        return Half()

    def activations(self, given: GivenActivations) -> ActivationRounding:
        return HalfActivations()


class HalfActivations(ActivationRounding):
    """Lets everything through."""

    def forward(self, values: Tensor) -> Tensor:
        return values * 1.0

    def frozen(self) -> ActivationQParams:
        return ActivationQParams(0.15, 0, 0, 15)


def test_rounding_that_is_none_is_refused() -> None:
    class Mine(TrainedQuantizerContract):
        name = "loose"

    mine = Mine()
    mine.make = Loose  # type: ignore[method-assign]
    for promise in (
        mine.test_it_rounds_layers_of_its_bits,
        mine.test_what_is_computed_is_what_is_exported,
        mine.test_gradients_are_finite_and_not_all_zero,
        mine.test_the_same_state_rounds_the_same_and_numbers_stay_as_they_are,
        mine.test_activations_are_integers_of_the_range_times_the_exported_step,
    ):
        with pytest.raises(AssertionError):
            promise()
