"""Members of a set that are nearest in a metric, against other ways to find them."""

from __future__ import annotations

import pytest
import torch

from automl.compression.forms.algebra import basis, chained, damped, leading, solved

Tensor = torch.Tensor


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def metric_of(columns: int) -> Tensor:
    rows = drawn(2, 3 * columns, columns, seed=1) @ drawn(2, columns, columns, seed=2)
    return damped(rows.transpose(1, 2) @ rows)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 4)])
@pytest.mark.parametrize("weighed", [False, True])
def test_a_basis_is_that_of_the_singular_values_in_the_metric(
    shape: tuple[int, int], weighed: bool
) -> None:
    matrix, metric = drawn(2, *shape), metric_of(shape[1]) if weighed else None
    rows = basis(matrix, metric, 3)
    torch.testing.assert_close(rows @ rows.transpose(1, 2), torch.eye(3).double().expand(2, 3, 3))
    found = solved(matrix, rows, metric) @ rows
    # the metric's root takes it to that of the weights, and back
    root = torch.linalg.cholesky(metric) if metric is not None else torch.eye(shape[1]).double()
    left, values, right = torch.linalg.svd(matrix @ root, full_matrices=False)
    best = (left[..., :3] * values[:, None, :3]) @ right[:, :3] @ torch.linalg.inv(root)
    torch.testing.assert_close(found, best)


def test_a_matrix_of_lower_rank_is_kept() -> None:
    matrix = drawn(1, 6, 2) @ drawn(1, 2, 8, seed=1)
    for rank in (2, 5):
        rows = basis(matrix, None, rank)
        torch.testing.assert_close(solved(matrix, rows, None) @ rows, matrix)
    assert leading(matrix, None, 2).shape == (1, 6, 2)


def test_coefficients_are_those_of_least_squares() -> None:
    weights, rows, metric = drawn(2, 4, 7), drawn(2, 3, 7, seed=3), metric_of(7)
    rows = torch.linalg.qr(rows.transpose(1, 2))[0].transpose(1, 2)
    found = solved(weights, rows, metric)
    root = torch.linalg.cholesky(metric)
    tall, wanted = ((each @ root).transpose(1, 2) for each in (rows, weights))
    expected = torch.linalg.lstsq(tall, wanted).solution.transpose(1, 2)
    torch.testing.assert_close(found, expected)


def test_kernels_in_a_chain_are_one() -> None:
    first, second = drawn(2, 3, 4, 3, 1), drawn(2, 5, 3, 1, 5, seed=1)
    whole = chained((first, second))
    assert whole.shape == (2, 5, 4, 3, 5)
    torch.testing.assert_close(whole[1, 2, 3, 1, 4], second[1, 2, :, 0, 4] @ first[1, :, 3, 1, 0])
