"""Which weights stay, and what they become, against plain ways to find both."""

from __future__ import annotations

import itertools

import pytest
import torch

from automl.compression.forms.algebra import damped
from automl.compression.forms.masking import MAGNITUDE, OBD, OBS, masked, share, some_of

Tensor = torch.Tensor


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def metric_of(columns: int, runs: int = 2) -> Tensor:
    rows = drawn(runs, 3 * columns, columns, seed=1) @ drawn(runs, columns, columns, seed=2)
    return damped(rows.transpose(1, 2) @ rows)


def error(weights: Tensor, found: Tensor, metric: Tensor) -> float:
    gap = weights - found
    return float((gap @ metric * gap).sum())


@pytest.mark.parametrize("saliency", [MAGNITUDE, OBD, OBS])
@pytest.mark.parametrize("unit", [1, 3])
def test_so_many_units_stay(saliency: str, unit: int) -> None:
    weights, metric = drawn(2, 5, 150), metric_of(150)
    for kept in (1, 97, 490):
        found = masked(weights, metric, share(unit, 150, kept, saliency), saliency)
        units = (found != 0.0).unflatten(2, (-1, unit))
        assert int(units.any(3).sum()) == kept
        assert torch.equal(units.any(3), units.all(3))


def test_magnitude_and_obd_leave_what_stays_as_it_is() -> None:
    weights, metric = drawn(2, 4, 12), metric_of(12)
    whole = share(1, 12, 40, MAGNITUDE)
    scores = {
        MAGNITUDE: weights.square(),
        OBD: weights.square() * metric.diagonal(dim1=1, dim2=2).unsqueeze(1),
    }
    for saliency, expected in scores.items():
        found = masked(weights, metric, whole, saliency)
        stays = found != 0.0
        assert torch.equal(found[stays], weights[stays])
        assert expected[stays].min() > expected[~stays].max()
    without_data = masked(weights, None, whole, OBS)
    assert torch.equal(without_data, masked(weights, metric, whole, MAGNITUDE))


@pytest.mark.parametrize("unit", [1, 4])
def test_what_stays_is_the_best_at_its_places(unit: int) -> None:
    weights, metric = drawn(2, 4, 24), metric_of(24)
    found = masked(weights, metric, share(unit, 24, 96 // unit, OBS), OBS)
    for run, output in itertools.product(range(2), range(4)):
        places = found[run, output].nonzero().flatten()
        root = torch.linalg.cholesky(metric[run])
        tall, wanted = root.T[:, places], root.T @ weights[run, output]
        expected = torch.linalg.lstsq(tall, wanted.unsqueeze(1)).solution.flatten()
        torch.testing.assert_close(found[run, output, places], expected)


@pytest.mark.parametrize("unit", [1, 4])
def test_the_better_informed_loses_less(unit: int) -> None:
    weights, metric = drawn(2, 16, 96), metric_of(96)
    kept = weights.numel() // unit // 2
    errors = [
        error(weights, masked(weights, metric, share(unit, 96, kept, each), each), metric)
        for each in (OBS, OBD, MAGNITUDE)
    ]
    assert errors[0] < 0.6 * errors[1]
    assert errors[1] < errors[2]


def test_the_first_units_that_go_are_those_of_least_loss() -> None:
    """One unit goes, and what is lost is no more than with any but one of the others."""
    weights, metric = drawn(1, 1, 12), metric_of(12, runs=1)
    found = masked(weights, metric, share(3, 12, 3, OBS), OBS)
    losses = []
    for gone in range(4):
        places = [each for each in range(12) if each // 3 != gone]
        root = torch.linalg.cholesky(metric[0]).T
        solved = torch.linalg.lstsq(root[:, places], (root @ weights[0, 0]).unsqueeze(1))
        best = torch.zeros(1, 1, 12).double()
        best[0, 0, places] = solved.solution.flatten()
        losses.append(error(weights, best, metric))
    gone = int((found.view(4, 3) == 0.0).all(1).nonzero())
    assert error(weights, found, metric) == pytest.approx(losses[gone])
    assert losses[gone] <= sorted(losses)[1]


def test_two_of_four_in_every_stretch() -> None:
    weights, metric = drawn(2, 5, 30), metric_of(30)
    found = masked(weights, metric, some_of(2, 4, 10), OBS)
    stretches = (found != 0.0).unflatten(2, (3, 10))
    for first, last in ((0, 4), (4, 8), (8, 10)):
        assert (stretches[..., first:last].sum(3) == 2).all()
    plain = masked(weights, metric, some_of(2, 4, 10), MAGNITUDE)
    assert error(weights, found, metric) < 0.5 * error(weights, plain, metric)
