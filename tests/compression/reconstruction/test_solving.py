"""A layer's weights by least squares: better on rows held out, or left as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from automl.compression.moments import gram
from automl.compression.reconstruction import solving
from automl.compression.reconstruction.solving import LayerRows, Solver

RIDGE = 3e-3


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(rows: int, columns: int, seed: int = 0) -> Tensor:
    wide = drawn(1, rows, columns + 1, seed=seed)
    wide[:, :, -1] = 1
    return wide


def problem(rows: int, columns: int, noise: float, seed: int = 0) -> tuple[LayerRows, Tensor]:
    """Rows whose targets are a matrix's outputs with noise, one an image, and the matrix."""
    truth = drawn(1, columns + 1, 4, seed=seed + 1)
    wide = inputs(rows, columns, seed)
    target = (wide @ truth)[0] + noise * drawn(rows, 4, seed=seed + 2)
    return LayerRows(wide, target, 0.0, rows, 1), truth


def off(weights: Tensor, truth: Tensor) -> float:
    """Mean squared error on inputs that nobody saw."""
    return float(((inputs(500, truth.shape[1] - 1, 99) @ (weights.float() - truth)) ** 2).mean())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [6, 30, 60, 90, 3000])
@pytest.mark.parametrize("near", [0.0, 0.02, 0.5])
def test_it_is_never_much_worse_than_what_was_there(rows: int, near: float, seed: int) -> None:
    layer, truth = problem(rows, 60, noise=3.0, seed=10 * seed)
    before = (truth + near * drawn(*truth.shape, seed=7)).double()
    found = Solver(layer).solve(before, RIDGE)
    if found is not None:
        assert off(found, truth) < 1.1 * off(before, truth) + 0.05 * 9 * 61 / rows


def plain(layer: LayerRows, before: Tensor) -> Tensor:
    """The weights under the weakest pull."""
    moments = gram(layer.wide).double()[0]
    pull = RIDGE * moments.diagonal()[:-1].mean() * torch.eye(moments.shape[0]).double()
    cross = layer.wide[0].T.double() @ layer.target.double()
    return torch.linalg.solve(moments + pull, cross + pull @ before[0]).unsqueeze(0)


def test_with_few_noisy_rows_weights_that_are_right_hardly_move() -> None:
    layer, truth = problem(70, 60, noise=3.0)
    found = Solver(layer).solve(truth.double(), RIDGE)
    assert found is None or off(found, truth) < 0.01 * off(plain(layer, truth.double()), truth)


def test_few_rows_hold_the_weights_more_and_still_make_them_better() -> None:
    layer, truth = problem(80, 60, noise=1.0)
    before = (truth + 0.5 * drawn(*truth.shape, seed=7)).double()
    found = Solver(layer).solve(before, RIDGE)
    assert found is not None
    assert off(found, truth) < off(before, truth)
    assert off(found, truth) < off(plain(layer, before), truth)


def test_many_rows_find_the_matrix() -> None:
    layer, truth = problem(5000, 10, noise=0.0)
    found = Solver(layer).solve(torch.zeros(1, 11, 4, dtype=torch.float64), 1e-6)
    assert found is not None
    torch.testing.assert_close(found.float(), truth, rtol=1e-3, atol=1e-3)


def test_a_relu_forgives_what_is_below_zero() -> None:
    layer, _ = problem(4000, 6, noise=0.0)
    clipped = torch.where(layer.target > 0, layer.target, -torch.rand_like(layer.target))
    zero = torch.zeros(1, 7, 4, dtype=torch.float64)
    errors = []
    for rounds in (1, 8):
        rows = LayerRows(layer.wide, clipped, 0.0, 4000, rounds)
        found = Solver(rows).solve(zero, RIDGE)
        assert found is not None
        errors.append(float((rows.written(found).relu() - clipped.relu()).square().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_images_are_held_out_whole() -> None:
    """Rows of one image say the same: with some of them in the fit, noise would look like truth."""
    each, images, truth = 40, 30, drawn(1, 61, 4, seed=1)
    wide = inputs(images, 60).repeat_interleave(each, 1)
    noise = (3 * drawn(images, 4, seed=2)).repeat_interleave(each, 0)
    target, mixed = (wide @ truth)[0] + noise, torch.randperm(images * each)
    errors = []
    for rows in (
        LayerRows(wide, target, 0.0, images, 1),
        LayerRows(wide[:, mixed], target[mixed], 0.0, images * each, 1),
    ):
        found = Solver(rows).solve(truth.double(), RIDGE)
        errors.append(0.0 if found is None else off(found, truth))
    assert errors[0] < 0.1 * errors[1]


def test_the_moments_are_those_of_all_rows() -> None:
    for rows in (1, 4, 7, 43):
        layer, _ = problem(rows, 5, noise=1.0)
        expected = gram(layer.wide).double() / rows
        torch.testing.assert_close(Solver(layer).moments, expected)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize(("rows", "columns"), [(900, 40), (1700, 310)])
def test_rows_are_read_some_at_a_time_and_nothing_changes(
    rows: int, columns: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fifth held out in turn, and the last alone; past a ReLU, and not."""
    layer, truth = problem(rows, columns, noise=1.0)
    layer = replace(layer, rounds=rounds, shortcut=drawn(rows, 4, seed=9))
    before = (truth + 0.5 * drawn(*truth.shape, seed=7)).double()
    whole = Solver(layer).solve(before, RIDGE)
    monkeypatch.setattr(solving, "_AT_ONCE", 4 * 37)
    found = Solver(layer).solve(before, RIDGE)
    assert whole is not None
    assert found is not None
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)


def test_a_wide_layer_holds_the_moments_of_the_last_fifth_and_of_the_others_alone() -> None:
    """They take hundreds of megabytes each."""
    layer, truth = problem(1700, 310, noise=1.0)
    solver = Solver(layer)
    solver.solve(truth.double(), RIDGE)
    assert 1 <= len(solver._sums) <= 2
    assert solver.moments.shape == (1, 311, 311)
    assert not solver._sums


def test_a_quick_choice_of_the_pull_holds_the_last_fifth_of_a_wide_layer_out_alone() -> None:
    layer, truth = problem(700, 310, noise=1.0)
    before = truth.double() + 0.5 * drawn(*truth.shape, seed=7)
    folds = []
    for thorough in (True, False):
        solver = Solver(layer, thorough=thorough)
        found = solver.solve(before, RIDGE)
        assert found is not None
        assert off(found, truth) < 0.5 * off(before, truth)
        folds.append(len(solver._sums))
    assert folds == [5, 2]


def test_what_cannot_be_held_out_or_is_not_finite_is_left() -> None:
    layer, truth = problem(4, 60, noise=1.0)
    assert Solver(layer).solve(0 * truth.double(), RIDGE) is None
    layer, truth = problem(50, 5, noise=1.0)
    layer.wide[0, 3, 2] = torch.nan
    assert Solver(layer).solve(0 * truth.double(), RIDGE) is None
