"""Codebooks against brute force, and on layers with little in them."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from automl.compression.quantization.codebook import codebook
from automl.errors import QuantizationError


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def best(points: list[float], masses: list[float], size: int) -> float:
    """Least weighted squared error over all ways to cut sorted points into `size` stretches."""
    pairs = sorted(zip(points, masses, strict=True))
    least = float("inf")
    for cuts in itertools.combinations(range(1, len(pairs)), size - 1):
        error = 0.0
        for start, end in itertools.pairwise([0, *cuts, len(pairs)]):
            part = pairs[start:end]
            mean = sum(x * m for x, m in part) / sum(m for _, m in part)
            error += sum(m * (x - mean) ** 2 for x, m in part)
        least = min(least, error)
    return least


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("weighted", [False, True])
def test_small_layers_are_solved_exactly(bits: int, seed: int, weighted: bool) -> None:
    weights = made(1, 2, 6, seed=seed)
    diagonal = torch.tensor([1.0, 0.1, 0.5, 0.9, 0.01, 0.7]) if weighted else torch.ones(6)
    moments = torch.diag(diagonal).unsqueeze(0)
    found = codebook(weights, bits, moments=moments)
    error = float(((found.values() - weights).square() * diagonal).sum())
    masses = diagonal.repeat(2).tolist()
    assert error == pytest.approx(best(weights.flatten().tolist(), masses, 1 << bits), rel=1e-4)


def test_the_error_falls_with_every_bit() -> None:
    weights = made(1, 30, 100)
    errors = []
    for bits in range(1, 9):
        found = codebook(weights, bits)
        assert len(found.entries) <= 1 << bits
        assert found.bits == bits
        assert int(found.indices.max()) < len(found.entries)
        errors.append(float((found.values() - weights).square().mean()))
    assert all(after < 0.5 * before for before, after in itertools.pairwise(errors))
    assert errors[3] < 0.0115  # the best quantiser of 16 levels for a normal variable: 0.0095
    assert errors[7] < 1e-4


def test_every_weight_has_its_nearest_entry_and_entries_ascend() -> None:
    weights = made(2, 5, 30)
    found = codebook(weights, 3)
    assert bool((found.entries.diff() > 0).all())
    gaps = (weights.unsqueeze(-1) - found.entries).abs()
    assert torch.equal(found.indices.long(), gaps.argmin(-1))


@pytest.mark.parametrize("distinct", [1, 3, 4])
def test_no_more_distinct_values_than_entries_lose_nothing(distinct: int) -> None:
    weights = (torch.arange(24) % distinct).float().view(1, 4, 6) - 1.0
    found = codebook(weights, 2)
    assert len(found.entries) == distinct
    assert torch.equal(found.values(), weights)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_very_small_and_very_large_weights(factor: float) -> None:
    weights = made(1, 4, 50)
    found, scaled = codebook(weights, 3), codebook(weights * factor, 3)
    torch.testing.assert_close(scaled.entries / factor, found.entries, rtol=1e-3, atol=1e-4)


def test_outliers_do_not_spoil_the_rest() -> None:
    weights = made(1, 40, 100)
    weights[0, 0, 0] = 1000.0
    found = codebook(weights, 4)
    gap = (found.values() - weights).flatten()[1:]
    assert float(gap.square().mean()) < 0.02


def test_weights_that_are_not_finite_are_refused() -> None:
    weights = made(1, 2, 3)
    weights[0, 0, 0] = torch.nan
    with pytest.raises(QuantizationError, match="not finite"):
        codebook(weights, 4)
