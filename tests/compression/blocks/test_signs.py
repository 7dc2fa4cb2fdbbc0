"""SignsWithScale with a mean magnitude, and what goes back through them."""

from __future__ import annotations

import torch

from automl.compression.blocks.signs import SignsWithScale


def test_each_weight_is_its_sign_times_its_outputs_mean_magnitude() -> None:
    weights = torch.tensor([[1.0, -3.0], [0.5, 0.5]])
    found = SignsWithScale()(weights)
    assert found.tolist() == [[2.0, -2.0], [0.5, 0.5]]
    assert torch.equal(SignsWithScale()(found), found)


def test_gradients_pass_signs_of_small_weights_alone_and_the_mean() -> None:
    weights = torch.tensor([[0.5, -3.0]], requires_grad=True)
    SignsWithScale()(weights)[0, 0].backward()
    assert weights.grad is not None
    # the scale, 1.75, through the sign of 0.5; half of each sign through the mean
    assert weights.grad.tolist() == [[1.75 + 0.5, -0.5]]
