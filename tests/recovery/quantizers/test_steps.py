"""What trained quantizers share: means, straight gradients, indices."""

from __future__ import annotations

import torch
from roundings import drawn

from automl.compression.quantization.qparams import QParams
from automl.recovery.quantizers.steps import book_of, frozen_step, mean_size, straight, weight_step


def test_straight_gradients_have_the_rounded_numbers_exactly() -> None:
    values = drawn().requires_grad_()
    found = straight(values, values.detach().round())
    assert torch.equal(found.detach(), values.detach().round())
    found.sum().backward()
    assert torch.equal(values.grad, torch.ones_like(values))


def test_mean_magnitudes_are_of_those_that_count() -> None:
    weights = torch.tensor([[[1.0, -3.0], [5.0, 0.0]]])
    assert mean_size(weights).flatten().tolist() == [2.0, 2.5]
    assert mean_size(weights, weights > 2).flatten().tolist() == [0.0, 5.0]
    assert mean_size(weights, shared=True).flatten().tolist() == [2.25, 2.25]


def test_one_step_stands_for_all_where_they_share_it() -> None:
    known = QParams(torch.full((1, 4, 1), 0.5), 4)
    assert weight_step(known, shared=True).shape == (1, 1, 1)
    values, found = frozen_step(drawn(), weight_step(known, shared=True), known)
    assert found.scale.shape == known.scale.shape
    assert torch.equal(values, (drawn() / 0.5).round().clamp(-7, 7) * 0.5)


def test_a_book_has_each_value_where_it_was() -> None:
    entries = torch.tensor([-2.0, 0.0, 0.25, 1.0])
    values = entries[torch.randint(4, (1, 3, 9), generator=torch.Generator().manual_seed(0))]
    assert torch.equal(book_of(values, entries, 2).values(), values)
