"""What is stored stands for the very numbers, and takes fewer bytes or is left alone."""

from __future__ import annotations

import pytest
import torch

from automl.export.stored import (
    IntegerWeights,
    SharedWeights,
    SparseWeights,
    found_sparse,
    found_stored,
)


def test_integers_and_indices_stand_for_numbers() -> None:
    integers = IntegerWeights(torch.tensor([[1, -2], [3, 0]]).to(torch.int8), torch.ones(2) / 2, 4)
    assert integers.values().tolist() == [[0.5, -1.0], [1.5, 0.0]]
    shared = SharedWeights(torch.tensor([0.25, 1.0]), torch.tensor([[0, 1]]).byte(), 1)
    assert shared.values().tolist() == [[0.25, 1.0]]


@pytest.mark.parametrize("values", [1, 3, 16, 256, 300, 100_000])
def test_sparse_weights_are_the_numbers_that_they_were_found_in(values: int) -> None:
    draw = torch.Generator().manual_seed(0)
    entries = torch.randn(values, generator=draw)
    weights = entries[torch.randint(values, (40, 20, 3, 3), generator=draw)]
    weights[torch.rand(weights.shape, generator=draw) < 0.6] = 0.0
    found = found_sparse(weights)
    assert found is not None
    assert torch.equal(found.values(), weights)
    used = len(weights[weights != 0].unique())
    assert found.bits == (32 if used > 256 else max(1, (used - 1).bit_length()))


def test_what_is_not_sparse_is_left_as_it_is() -> None:
    assert found_sparse(torch.randn(8, 8)) is None
    assert found_sparse(torch.zeros(64)) is None  # a bias is stored as it is
    assert found_sparse(torch.zeros(8, 8, dtype=torch.int64)) is None
    found = found_sparse(torch.zeros(8, 8))
    assert found is not None
    assert torch.equal(found.values(), torch.zeros(8, 8))


def test_few_values_are_a_codebook_and_many_zeros_a_mask() -> None:
    draw = torch.Generator().manual_seed(0)
    powers = torch.tensor([-1.0, -0.5, -0.25, -0.125, 0.0, 0.25, 0.5, 1.0])
    weights = powers[torch.randint(8, (30, 40), generator=draw)]
    shared = found_stored(weights)
    assert isinstance(shared, SharedWeights)
    assert shared.bits == 3
    assert torch.equal(shared.values(), weights)
    thin = weights * (torch.rand(weights.shape, generator=draw) < 0.2)
    assert isinstance(found_stored(thin), SparseWeights)
    assert found_stored(torch.randn(30, 40, generator=draw)) is None
    assert found_stored(torch.tensor([[1.0]])) is None
