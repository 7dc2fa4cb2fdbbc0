"""Which taps channels have."""

from __future__ import annotations

from itertools import product

import torch

from automl.compression.forms.moving import moved


def test_taps_are_near_the_best_of_all_and_weights_are_least_squares() -> None:
    ratios = []
    for seed in range(8):
        torch.manual_seed(seed)
        weights = torch.randn(3, 4, 5, dtype=torch.float64)
        mixed = torch.randn(20, 20, dtype=torch.float64)
        metric = mixed @ mixed.T / 20 + 1e-3 * torch.eye(20)

        def lost(places: tuple[int, ...], weights=weights, metric=metric) -> float:  # type: ignore[no-untyped-def]
            columns = torch.arange(4) * 5 + torch.tensor(places)
            flat = weights.flatten(1)
            best = torch.linalg.solve(metric[columns][:, columns], metric[columns] @ flat.T).T
            gap = flat.clone()
            gap[:, columns] -= best
            return float(((gap @ metric) * gap).sum())

        places, found = moved(weights, metric)
        gap = weights.clone()
        gap[:, torch.arange(4), places] -= found
        error = float(((gap.flatten(1) @ metric) * gap.flatten(1)).sum())
        assert abs(error / lost(tuple(places.tolist())) - 1) < 1e-9
        ratios.append(error / min(lost(each) for each in product(range(5), repeat=4)))
    assert sum(each < 1 + 1e-9 for each in ratios) >= 4
    assert sum(ratios) / len(ratios) < 1.1
