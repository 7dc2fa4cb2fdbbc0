"""The LASSO's path against its optimality conditions, found by plain descent."""

from __future__ import annotations

import torch
from readers import made
from torch import Tensor

from automl.compression.importance.lasso import lasso_path
from automl.compression.importance.uncompensated import summed_gram
from automl.testing.importances import ImportanceContract


def descended(gram: Tensor, penalty: float) -> Tensor:
    """Factors of least penalised error, coordinate by coordinate."""
    aim, factors = gram.sum(1), torch.zeros(len(gram), dtype=gram.dtype)
    for _ in range(4000):
        for at in range(len(gram)):
            left = float(aim[at] - gram[at] @ factors + gram[at, at] * factors[at])
            kept = max(abs(left) - penalty, 0.0) * (1 if left > 0 else -1)
            factors[at] = kept / float(gram[at, at])
    return factors


def test_what_takes_part_under_a_penalty_is_what_comes_first() -> None:
    gram = summed_gram([made(7, 2, 4, seed=3)])
    path = lasso_path(gram)
    assert sorted(path) == list(range(7))
    largest = float(gram.sum(1).abs().max())
    for share in (0.7, 0.4, 0.2, 0.08):
        taking = (descended(gram, share * largest).abs() > 1e-7).nonzero().flatten().tolist()
        assert set(taking) == set(path[: len(taking)]), share


def test_channels_that_add_nothing_come_last() -> None:
    gram = torch.zeros(4, 4, dtype=torch.float64)
    gram[1, 1], gram[3, 3] = 2.0, 1.0
    assert lasso_path(gram)[:2] == [1, 3]
    assert sorted(lasso_path(gram)) == [0, 1, 2, 3]


def test_of_two_that_are_alike_one_comes_at_once_and_the_other_late() -> None:
    rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).double()
    rows = torch.cat([rows, rows[:, :1] * 1.001], 1)
    path = lasso_path(rows.T @ rows / 200)
    assert sorted(path) == list(range(5))
    assert 4 in path[:2]
    assert path.index(0) > 2


class TestLasso(ImportanceContract):
    name = "lasso"
