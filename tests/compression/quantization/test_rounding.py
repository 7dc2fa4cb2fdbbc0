"""Second-order rounding against brute force, against nearest rounding, and on odd inputs."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from automl.compression.quantization.codebook import codebook
from automl.compression.quantization.qparams import (
    centred,
    fitted_qparams,
    highest,
    round_to,
    values,
    weight_qparams,
)
from automl.compression.quantization.rounding import (
    corrected_bias,
    improved,
    output_error,
    quantized,
    round_to_codebook,
    round_weights,
)


def made(runs: int, outputs: int, columns: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, correlated inputs [runs, rows, columns] and their moments with the ones."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(runs, outputs, columns, generator=generator)
    mix = torch.randn(runs, columns, max(2, columns // 2), generator=generator)
    rows = torch.randn(runs, 400, mix.shape[2], generator=generator) @ mix.transpose(1, 2) + 1.0
    rows += 0.1 * torch.randn(runs, 400, columns, generator=generator)
    wide = torch.cat([rows, torch.ones(runs, 400, 1)], 2).double()
    return weights, rows, wide.transpose(1, 2) @ wide / 400


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(1, 6, 90), (5, 1, 9), (3, 4, 7)])
def test_no_step_makes_any_output_worse(bits: int, shape: tuple[int, int, int]) -> None:
    weights, _, moments = made(*shape)
    qparams = weight_qparams(weights, bits, moments=moments)
    nearest = round_to(weights, qparams)
    second = round_weights(weights, moments, qparams)
    refit = fitted_qparams(weights, second, qparams, moments)
    third = improved(weights, second, moments, refit)
    last = fitted_qparams(weights, third, refit, moments)
    steps = [(nearest, qparams), (second, qparams), (second, refit), (third, refit), (third, last)]
    errors = [output_error(weights, values(*step), moments) for step in steps]
    for before, after in itertools.pairwise(errors):
        assert bool((after <= before * (1 + 1e-6)).all())
    assert float(errors[1].sum()) < 0.9 * float(errors[0].sum())
    integers, final = quantized(weights, moments, bits)
    assert torch.equal(integers, third)
    assert torch.equal(final.scale, last.scale)
    assert int(integers.abs().max()) <= highest(bits)


def test_correlated_inputs_gain_most() -> None:
    weights, _, moments = made(1, 8, 96)
    qparams = weight_qparams(weights, 4, moments=moments)
    near = output_error(weights, values(round_to(weights, qparams), qparams), moments).sum()
    found = output_error(
        weights, values(round_weights(weights, moments, qparams), qparams), moments
    )
    assert float(found.sum()) < 0.5 * float(near)


def test_few_columns_come_close_to_the_best_of_all_integers() -> None:
    weights, _, moments = made(1, 12, 4, seed=3)
    integers, qparams = quantized(weights, moments, 2)
    every = torch.tensor(list(itertools.product([-1, 0, 1], repeat=4)))
    best = torch.stack(
        [
            output_error(weights, (every[i] * qparams.scale).expand_as(weights), moments)
            for i in range(len(every))
        ]
    ).amin(0)
    found = output_error(weights, values(integers, qparams), moments)
    assert float(found.sum()) <= 1.1 * float(best.sum())
    assert bool((found >= best - 1e-9).all())


def test_it_is_the_published_recursion() -> None:
    """GPTQ as printed: inverse, its Cholesky factor, errors divided by the diagonal."""
    weights, _, moments = made(1, 5, 70, seed=5)
    plain = moments[:, :-1, :-1]
    qparams = weight_qparams(weights, 4, moments=plain)
    moments = plain[0] + 0.01 * plain[0].diagonal().mean() * torch.eye(70)
    order = plain[0].diagonal().argsort(descending=True)
    upper = torch.linalg.cholesky(torch.linalg.inv(moments[order][:, order]), upper=True)
    left, result = weights[0, :, order].double(), torch.empty(5, 70, dtype=torch.int8)
    for j in range(70):
        code = round_to(left[:, j : j + 1].unsqueeze(0), qparams)
        error = (left[:, j : j + 1] - values(code, qparams)[0]) / upper[j, j]
        left[:, j + 1 :] -= error * upper[j, j + 1 :]
        result[:, order[j]] = code[0, :, 0]
    agreed = (round_weights(weights, plain, qparams)[0] == result).double().mean()
    assert float(agreed) > 0.99  # ties aside


def test_the_bias_takes_out_the_mean_error() -> None:
    weights, rows, moments = made(3, 4, 10)
    integers, qparams = quantized(weights, moments, 2)
    rounded = values(integers, qparams)
    bias = torch.randn(12, generator=torch.Generator().manual_seed(9))
    after = corrected_bias(weights, rounded, moments, bias)
    assert after.dtype == bias.dtype
    before = rows @ weights.transpose(1, 2) + bias.view(3, 1, 4)
    quantised = rows @ rounded.transpose(1, 2) + after.view(3, 1, 4)
    gap = (quantised - before).double()
    torch.testing.assert_close(gap.mean(1), torch.zeros(3, 4).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        gap.square().mean(1), output_error(weights, rounded, moments), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("bits", [1, 4])
def test_dead_and_constant_inputs_are_rounded_to_nearest(bits: int) -> None:
    weights, rows, _ = made(1, 5, 8)
    rows[..., 2], rows[..., 5] = 0.0, 3.0
    wide = torch.cat([rows, torch.ones(1, 400, 1)], 2).double()
    moments = wide.transpose(1, 2) @ wide / 400
    qparams = weight_qparams(weights, bits, moments=moments)
    found, nearest = round_weights(weights, moments, qparams), round_to(weights, qparams)
    assert torch.equal(found[..., [2, 5]], nearest[..., [2, 5]])


def test_no_inputs_at_all_leave_the_nearest() -> None:
    weights = made(2, 3, 6)[0]
    moments = torch.zeros(2, 6, 6)
    qparams = weight_qparams(weights, 3)
    assert torch.equal(round_weights(weights, moments, qparams), round_to(weights, qparams))
    broken = torch.full((2, 6, 6), torch.nan)
    assert torch.equal(round_weights(weights, broken, qparams), round_to(weights, qparams))


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_channels_of_zeros_stay_zero(bits: int) -> None:
    weights, _, moments = made(2, 3, 9)
    weights[0, 1] = 0.0
    integers, qparams = quantized(weights, moments, bits)
    assert not values(integers, qparams)[0, 1].any()
    assert torch.isfinite(qparams.scale).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("shape", [(1, 6, 70), (4, 2, 9)])
def test_codebooks_gain_from_the_second_order_too(bits: int, shape: tuple[int, int, int]) -> None:
    weights, _, moments = made(*shape)
    plain = codebook(weights, bits, moments=moments)
    found = round_to_codebook(weights, moments, plain)
    assert found.bits == bits
    assert len(found.entries) <= 1 << bits
    assert bool((found.entries.diff() > 0).all())
    before = output_error(weights, plain.values(), moments).sum()
    after = output_error(weights, found.values(), moments).sum()
    assert float(after) < 0.7 * float(before)


def test_the_entries_are_those_of_least_squares() -> None:
    weights, _, moments = made(1, 6, 30)
    found = round_to_codebook(weights, moments, codebook(weights, 2, moments=moments))
    factor = torch.linalg.cholesky(centred(moments, 30)[0])
    held = torch.nn.functional.one_hot(
        found.indices[0].long()
    ).double()  # outputs, columns, entries
    design = torch.einsum("oce,cf->ofe", held, factor).reshape(6 * 30, -1)
    wanted = (weights[0].double() @ factor).reshape(-1, 1)
    best = torch.linalg.lstsq(design, wanted).solution.flatten()
    torch.testing.assert_close(found.entries.double(), best, rtol=1e-4, atol=1e-5)


def test_codebooks_that_lose_nothing_stay_as_they_are() -> None:
    _, _, moments = made(1, 4, 9)
    weights = torch.tensor([-1.0, 0.5, 2.0]).repeat(12).view(1, 4, 9)
    plain = codebook(weights, 2, moments=moments)
    assert torch.equal(round_to_codebook(weights, moments, plain).values(), weights)
    for value in (0.0, torch.nan):
        blind = round_to_codebook(weights, torch.full((1, 9, 9), value), plain)
        assert torch.equal(blind.values(), weights)


def test_the_same_inputs_give_the_same_integers() -> None:
    weights, _, moments = made(2, 4, 80)
    first, second = (quantized(weights, moments, 3) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].scale, second[1].scale)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_zeros_stay_zero_and_the_others_compensate(bits: int) -> None:
    weights, _, moments = made(2, 6, 30, seed=3)
    mask = torch.rand(weights.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    weights = weights * mask
    integers, qparams = quantized(weights, moments, bits)
    assert not integers[~mask].any()
    nearest = values(round_to(weights, qparams), qparams)
    found = output_error(weights, values(integers, qparams), moments)
    assert bool((found <= output_error(weights, nearest, moments) * (1 + 1e-6)).all())
    assert float(found.sum()) < 0.9 * float(output_error(weights, nearest, moments).sum())
