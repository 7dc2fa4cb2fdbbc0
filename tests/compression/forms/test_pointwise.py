"""Combinations of channels on which outputs have their taps."""

from __future__ import annotations

import torch

from automl.compression.forms.pointwise import pointwise


def test_more_combinations_and_a_known_metric_bring_it_nearer() -> None:
    torch.manual_seed(0)
    kernel = torch.randn(8, 4, 3, 3, dtype=torch.float64)
    mixed = torch.randn(36, 50, dtype=torch.float64)
    metric = mixed @ mixed.T / 50 + 1e-3 * torch.eye(36)

    def error(count: int, known: torch.Tensor | None) -> float:
        drawn, which, taps = pointwise(kernel, known, count)
        gap = (drawn[which][..., None, None] * taps[:, None] - kernel).flatten(1)
        return float(((gap @ metric) * gap).sum())

    aware = [error(count, metric) for count in (1, 2, 4, 8)]
    assert aware == sorted(aware, reverse=True)
    assert aware[2] < 0.9 * error(4, None)


def test_a_combination_for_each_output_is_its_best_of_rank_one() -> None:
    torch.manual_seed(1)
    kernel = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    drawn, which, taps = pointwise(kernel, None, 5)
    assert sorted(which.tolist()) == [0, 1, 2, 3, 4]
    found = drawn[which][..., None, None] * taps[:, None]
    values = torch.linalg.svdvals(kernel.flatten(2))
    gap = (found - kernel).flatten(1).square().sum(1)
    torch.testing.assert_close(gap, values[:, 1:].square().sum(1))
