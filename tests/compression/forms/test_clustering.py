"""What goes and what is shared, against solutions that are known."""

from __future__ import annotations

import torch

from automl.compression.forms.clustering import clustered, pruned, solved_on

Tensor = torch.Tensor


def drawn(runs: int = 2, outputs: int = 5, columns: int = 12) -> tuple[Tensor, Tensor]:
    """Weights, and a metric in which columns are alike."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(runs, outputs, columns, generator=draw).double()
    rows = torch.randn(runs, 100, 8, generator=draw) @ torch.randn(runs, 8, columns, generator=draw)
    rows = rows.double() + 0.2 * torch.randn(runs, 100, columns, generator=draw)
    return weights, rows.mT @ rows / 100


def error(gap: Tensor, metric: Tensor) -> float:
    return float(((gap @ metric) * gap).sum())


def test_what_stays_is_the_least_squares_of_it() -> None:
    weights, metric = drawn()
    mask = torch.rand(weights.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    found = solved_on(weights, mask, metric)
    assert torch.equal(found != 0, mask)
    slope = ((found - weights) @ metric)[mask]
    assert torch.allclose(slope, torch.zeros_like(slope), atol=1e-9)


def test_so_many_stay_and_a_weight_that_others_make_good_for_goes_first() -> None:
    weights, metric = drawn()
    found, mask = pruned(weights, metric, 37, 3)
    assert int(mask.sum()) == 37
    assert torch.equal(found != 0, mask)
    largest = torch.zeros_like(mask)
    largest.view(-1)[weights.abs().flatten().argsort(descending=True)[:37]] = True
    by_size = solved_on(weights, largest, metric)
    assert error(found - weights, metric) < 0.8 * error(by_size - weights, metric)


def test_the_weight_of_least_cost_goes_as_the_optimal_surgeon_has_it() -> None:
    weights, metric = drawn(1, 1, 6)
    _, mask = pruned(weights, metric, 5, 1)
    costs = []
    for column in range(6):
        stays = torch.ones(1, 1, 6, dtype=torch.bool)
        stays[0, 0, column] = False
        costs.append(error(solved_on(weights, stays, metric) - weights, metric))
    assert (~mask).flatten().nonzero().item() == min(range(6), key=costs.__getitem__)


def test_values_are_shared_and_nearer_than_k_means_alone() -> None:
    weights, metric = drawn(2, 20, 12)
    found, mask = pruned(weights, metric, 240, 2)
    shared = clustered(found, weights, mask, metric, 4)
    assert len(shared[mask].unique()) <= 4
    assert not shared[~mask].any()
    assert torch.equal(shared, shared.float().double())
    values = found[mask].sort().values.view(4, -1).mean(1)  # of equally many each
    plain = torch.where(mask, values[(found.unsqueeze(-1) - values).abs().argmin(-1)], 0.0)
    assert error(shared - weights, metric) < error(plain - weights, metric)


def test_nothing_left_is_zero() -> None:
    weights, metric = drawn()
    mask = torch.zeros_like(weights, dtype=torch.bool)
    assert not clustered(weights, weights, mask, metric, 4).any()
