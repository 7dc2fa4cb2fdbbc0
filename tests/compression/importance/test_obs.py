"""Elimination against brute force."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from readers import EXACT, error, made, solved

from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import PruningOrder, Reader
from automl.compression.importance.obs import Obs, eliminate
from automl.network.layers import ChannelGroup
from automl.testing.importances import ImportanceContract

GROUP = ChannelGroup("drawn", 12, (), ())
NOTHING = cast(ChannelStatistics, None)  # what is ranked by its readers alone reads no more


def weight_of(found: PruningOrder, count: int, reader: Reader) -> torch.Tensor:
    """The weights of the only reader."""
    (weight,) = found.weights(count, [reader.weight])
    return weight


@pytest.mark.parametrize("times", [1, 3])
def test_one_channel_goes_where_brute_force_says_and_leaves_what_least_squares_leaves(
    times: int,
) -> None:
    reader = made(6, times, 4)
    found = eliminate([reader], [5], damping=EXACT)
    errors = [error(reader, solved(reader, [channel])) for channel in range(6)]
    assert found.order[0] == min(range(6), key=errors.__getitem__)
    assert found.error[5] == pytest.approx(min(errors), rel=1e-4)
    expected = solved(reader, [found.order[0]]).float()
    torch.testing.assert_close(weight_of(found, 5, reader), expected, rtol=1e-3, atol=1e-4)


def test_two_readers_are_judged_by_the_sum_of_their_errors() -> None:
    readers = [made(6, 2, 4, seed=1), made(6, 1, 3, seed=2)]
    found = eliminate(readers, [5], damping=EXACT)
    errors = [sum(error(each, solved(each, [channel])) for each in readers) for channel in range(6)]
    assert found.order[0] == min(range(6), key=errors.__getitem__)
    assert found.error[5] == pytest.approx(min(errors), rel=1e-4)
    weights = found.weights(5, [reader.weight for reader in readers])
    assert [weight.shape for weight in weights] == [(4, 13), (3, 7)]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_every_count_has_the_best_weights_for_the_channels_it_keeps(step: int) -> None:
    reader = made(7, 2, 4, seed=3)
    found = eliminate([reader], range(1, 8), damping=EXACT, step=step)
    for count in range(1, 8):
        weight = weight_of(found, count, reader)
        gone = list(found.order[: 7 - count])
        columns = reader.columns[gone].flatten()
        assert not weight[:, columns].any()
        expected = solved(reader, gone).float()
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-3)
    errors = [found.error[count] for count in range(7, 0, -1)]
    assert errors[0] == 0.0
    assert errors == sorted(errors)


def test_the_sum_of_errors_is_the_error_of_the_weights_when_scores_are_exact() -> None:
    reader = made(6, 2, 4, seed=4)
    found = eliminate([reader], range(1, 7), damping=EXACT)
    for count in range(1, 6):
        off = error(reader, weight_of(found, count, reader))
        assert found.error[count] == pytest.approx(off, rel=1e-3)


@pytest.mark.parametrize("step", [1, 3, 4])
def test_the_order_does_not_hang_on_the_counts_that_are_wanted(step: int) -> None:
    reader = made(11, 1, 4, seed=5)
    every = eliminate([reader], range(2, 12), step=step)
    for count in range(2, 11):
        alone = eliminate([reader], [count, 11], step=step)
        assert torch.equal(alone.kept(count), every.kept(count))
        assert torch.equal(weight_of(alone, count, reader), weight_of(every, count, reader))


def test_dead_and_doubled_channels_cost_nothing() -> None:
    rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(6))
    rows = torch.cat([rows, rows[:, :1], torch.zeros(200, 1), torch.ones(200, 1)], 1).double()
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(7))
    reader = Reader(weight, rows.T @ rows / 200, torch.arange(6).unsqueeze(1))
    found = eliminate([reader], [4, 3])
    assert 5 in found.order[:2]
    assert set(found.order[:2]) & {0, 4}
    assert found.error[4] < 1e-3 < found.error[3]


def test_inputs_that_are_all_zero_leave_finite_weights() -> None:
    moments = torch.zeros(5, 5, dtype=torch.float64)
    moments[4, 4] = 1.0
    reader = Reader(torch.ones(2, 5), moments, torch.arange(4).unsqueeze(1))
    assert torch.isfinite(weight_of(eliminate([reader], [1]), 1, reader)).all()


def test_wide_groups_lose_several_channels_between_two_updates() -> None:
    reader = made(12, 1, 4, seed=8)
    for updates, step in ((12, 1), (6, 2), (5, 2), (128, 1)):
        found = Obs(damping=EXACT, updates=updates).eliminate(GROUP, [reader], [3], NOTHING)
        expected = eliminate([reader], [3], damping=EXACT, step=step)
        assert found.order == expected.order
    order = Obs(damping=EXACT).order(GROUP, [reader], NOTHING).tolist()
    assert tuple(order) == eliminate([reader], [1], damping=EXACT).order


class TestObs(ImportanceContract):
    name = "obs"
