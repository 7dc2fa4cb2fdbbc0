"""The nearest of matrices that share numbers, and few lines through many vectors."""

from __future__ import annotations

import torch

from automl.compression.forms.algebra import damped
from automl.compression.forms.sharing import lines, nearest_in, shared, spread, tied

Tensor = torch.Tensor


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def metric_of(columns: int) -> Tensor:
    rows = drawn(1, 3 * columns, columns, seed=1) @ drawn(1, columns, columns, seed=2)
    return damped(rows.transpose(1, 2) @ rows)


def test_numbers_are_the_means_of_where_they_stand() -> None:
    places, signs = torch.tensor([[0, 1, -1, 1]]), torch.tensor([[1, 1, 1, -1]])
    found = shared(torch.tensor([[3.0, 4.0, 9.0, 2.0]]), places, signs, 3)
    assert found.tolist() == [3.0, 1.0, 0.0]
    assert spread(found, places, signs).tolist() == [[3.0, 1.0, 0.0, -1.0]]


def test_the_nearest_is_that_of_least_squares() -> None:
    weights, metric = drawn(1, 5, 8), metric_of(8)
    places = torch.randint(0, 6, (1, 5, 8), generator=torch.Generator().manual_seed(3)) - 1
    signs = 1 - 2 * torch.randint(0, 2, (1, 5, 8), generator=torch.Generator().manual_seed(4))
    project = tied(places, signs, 5)
    assert torch.equal(nearest_in(weights, None, project), project(weights))
    found = nearest_in(weights, metric, project)
    torch.testing.assert_close(project(found), found)
    root = torch.linalg.cholesky(metric[0])
    tall = torch.stack(
        [(spread(row, places, signs)[0] @ root).flatten() for row in torch.eye(5).double()], 1
    )
    solved = torch.linalg.lstsq(tall, (weights[0] @ root).flatten().unsqueeze(1)).solution
    torch.testing.assert_close(found, spread(solved.flatten(), places, signs))


def test_vectors_on_few_lines_are_told_apart() -> None:
    directions, which = drawn(4, 7), torch.tensor([0, 1, 2, 3, 3, 2, 1, 0, 2, 2])
    vectors = directions[which] * drawn(10, 1, seed=5)
    for metric in (None, metric_of(7)[0]):
        found, on, scale = lines(vectors, metric, 4)
        torch.testing.assert_close(found[on] * scale[:, None], vectors)
        assert len(set(zip(on.tolist(), which.tolist(), strict=True))) == 4


def test_more_lines_leave_less() -> None:
    vectors, metric = drawn(20, 6), metric_of(6)[0]
    errors = []
    for count in (1, 3, 8, 20):
        found, on, scale = lines(vectors, metric, count)
        gap = vectors - found[on] * scale[:, None]
        errors.append(float((gap @ metric * gap).sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9 * errors[0]
