"""Weight grids against brute force, and what they must never do."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from automl.compression.quantization.qparams import (
    QParams,
    centred,
    fitted_qparams,
    highest,
    round_to,
    values,
    weight_qparams,
)
from automl.errors import QuantizationError


def made(runs: int = 2, outputs: int = 3, columns: int = 40, seed: int = 0) -> Tensor:
    return torch.randn(runs, outputs, columns, generator=torch.Generator().manual_seed(seed))


def moments_of(columns: int, runs: int = 1, seed: int = 1, ones: bool = True) -> Tensor:
    """Of correlated inputs whose mean is not zero."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(runs, columns, columns, generator=generator)
    rows = torch.randn(runs, 500, columns, generator=generator) @ mix + 1.5
    if ones:
        rows = torch.cat([rows, torch.ones(runs, 500, 1)], 2)
    return (rows.transpose(1, 2) @ rows).double() / 500


def squared_error(weights: Tensor, qparams: QParams) -> Tensor:
    return (values(round_to(weights, qparams), qparams) - weights).square().sum(2)


def test_the_error_falls_with_every_bit() -> None:
    weights = made()
    errors = [
        float(squared_error(weights, weight_qparams(weights, bits)).sum()) for bits in range(1, 9)
    ]
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert errors[-1] < 1e-4 * float(weights.square().sum())


@pytest.mark.parametrize("bits", range(2, 9))
def test_grids_are_symmetric_about_an_exact_zero(bits: int) -> None:
    weights = made()
    weights[..., 0], weights[..., 1] = 0.0, -0.0
    qparams = weight_qparams(weights, bits)
    integers = round_to(weights, qparams)
    assert qparams.scale.shape == (2, 3, 1)
    assert integers.dtype == torch.int8
    assert int(integers.abs().max()) <= qparams.highest == highest(bits)
    assert not values(integers, qparams)[..., :2].any()
    assert torch.equal(round_to(-weights, qparams), -integers)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_scale_is_nearly_that_of_brute_force(bits: int) -> None:
    weights = made(1, 5, 12)
    found = squared_error(weights, weight_qparams(weights, bits))
    for output in range(5):
        one = weights[:, output : output + 1]
        tried = torch.linspace(1e-3, 2 * float(one.abs().max()), 20_000).view(-1, 1, 1)
        least = squared_error(one.expand(20_000, 1, 12), QParams(tried, bits)).min()
        assert float(found[0, output]) <= 1.03 * float(least)


def test_one_bit_is_the_sign_times_the_weighted_mean() -> None:
    weights = made(1, 3, 20)
    qparams = weight_qparams(weights, 1)
    torch.testing.assert_close(qparams.scale, weights.abs().mean(2, keepdim=True))
    assert torch.equal(round_to(weights, qparams), weights.sign().to(torch.int8))
    moments = torch.diag(torch.tensor([3.0] * 10 + [1.0] * 10)).unsqueeze(0)
    wide = (weights[..., :10].abs().sum(2) * 3 + weights[..., 10:].abs().sum(2)) / 40
    found = weight_qparams(weights, 1, moments=moments).scale.squeeze(2)
    torch.testing.assert_close(found, wide)


def test_columns_that_count_more_are_met_better() -> None:
    weights = made(1, 4, 30)
    weights[..., :3] *= 8
    diagonal = torch.cat([torch.full((3,), 1e-4), torch.ones(27)])
    qparams = weight_qparams(weights, 3, moments=torch.diag(diagonal).unsqueeze(0))
    plain = weight_qparams(weights, 3)
    assert bool((qparams.scale < plain.scale).all())


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize("peak", [1e-44, 1e-38, 1.0, 3.4e38])
def test_odd_channels_stay_finite(bits: int, peak: float) -> None:
    weights = torch.zeros(1, 4, 6)
    weights[0, 1] = peak
    weights[0, 2] = -peak
    weights[0, 3, 2] = peak
    qparams = weight_qparams(weights, bits)
    rounded = values(round_to(weights, qparams), qparams)
    assert torch.isfinite(qparams.scale).all()
    assert torch.isfinite(rounded).all()
    assert not rounded[0, 0].any()
    if peak == 1.0:
        torch.testing.assert_close(rounded[0, 1:3], weights[0, 1:3])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    weights = made()
    weights[0, 1, 2] = value
    with pytest.raises(QuantizationError, match="not finite"):
        weight_qparams(weights, 4)


def test_moments_with_ones_count_about_the_mean() -> None:
    moments = moments_of(6, runs=2)
    mean = moments[:, :-1, -1:]
    expected = moments[:, :-1, :-1] - mean @ mean.transpose(1, 2)
    torch.testing.assert_close(centred(moments, 6), expected)
    plain = moments[:, :-1, :-1]
    assert torch.equal(centred(plain, 6), plain)


def test_dead_inputs_weigh_all_columns_alike() -> None:
    weights = made(1, 3, 10)
    dead = weight_qparams(weights, 3, moments=torch.zeros(1, 10, 10))
    assert torch.equal(dead.scale, weight_qparams(weights, 3).scale)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fitted_scales_are_those_of_least_squares(bits: int) -> None:
    weights, moments = made(1, 3, 12), moments_of(12)
    qparams = weight_qparams(weights, bits, moments=moments)
    integers = round_to(weights, qparams)
    found = fitted_qparams(weights, integers, qparams, moments)
    factor = torch.linalg.cholesky(centred(moments, 12)[0])
    for output in range(3):
        coded = integers[0, output].double() @ factor
        wanted = weights[0, output].double() @ factor
        best = torch.linalg.lstsq(coded.unsqueeze(1), wanted.unsqueeze(1)).solution
        assert float(found.scale[0, output]) == pytest.approx(float(best), rel=1e-5)


def test_a_channel_without_a_best_scale_keeps_its_own() -> None:
    weights = torch.zeros(1, 2, 4)
    weights[0, 0] = torch.tensor([1.0, -2.0, 3.0, 0.5])
    qparams = weight_qparams(weights, 4)
    found = fitted_qparams(weights, round_to(weights, qparams), qparams, torch.zeros(1, 4, 4))
    assert torch.equal(found.scale, qparams.scale)
