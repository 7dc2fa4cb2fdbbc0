"""Channels removed in an order that is given, against brute force."""

from __future__ import annotations

import pytest
import torch
from readers import EXACT, error, made, solved

from automl.compression.importance import elimination
from automl.compression.importance.elimination import (
    PruningOrder,
    Reader,
    ReaderState,
    in_order,
    remove_channels,
)
from automl.compression.importance.obs import eliminate


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [4, 1, 5, 0, 3, 2]])
def test_the_weights_that_stay_are_those_of_least_squares(order: list[int]) -> None:
    readers = [made(6, 2, 4, seed=1), made(6, 1, 3, seed=2)]
    found = remove_channels(readers, range(1, 7), in_order(order), damping=EXACT)
    assert list(found.order) == order
    for count in range(1, 7):
        gone = order[: 6 - count]
        dense = [reader.weight for reader in readers]
        for reader, weight in zip(readers, found.weights(count, dense), strict=True):
            assert not weight[:, reader.columns[gone].flatten()].any()
            expected = solved(reader, gone).float()
            torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-3)
        errors = [error(reader, solved(reader, gone)) for reader in readers]
        assert found.error[count] == pytest.approx(sum(errors), rel=1e-3, abs=1e-6)


def test_no_more_goes_than_the_least_count_asks_for() -> None:
    asked: list[int] = []

    def choose(states: object, alive: torch.Tensor) -> list[tuple[int, float]]:
        asked.append(int(alive.sum()))
        return [(int(alive.nonzero()[-1]), 0.5)]

    found = remove_channels([made(6, 1, 4)], [4, 6], choose)
    assert asked == [6, 5]
    assert found.order == (5, 4, 0, 1, 2, 3)
    assert found.error == {6: 0.0, 4: 1.0}


def test_a_score_is_that_of_all_scores() -> None:
    state = ReaderState(made(6, 3, 4), EXACT)
    state.remove([2])
    alive = torch.tensor([True, True, False, True, True, True])
    for place, channel in enumerate((0, 1, 3, 4, 5)):
        only = torch.arange(6) == channel
        assert float(state.scores(only)) == pytest.approx(
            float(state.scores(alive)[place]), rel=1e-9
        )


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("times", [1, 4])
def test_blocks_of_columns_change_nothing(
    step: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went makes room in the matrix; weights at counts within blocks and between them."""
    reader = made(24, times, 5, seed=3)
    whole = eliminate([reader], range(2, 25), damping=EXACT, step=step)
    monkeypatch.setattr(elimination, "_BLOCK", 5)
    found = eliminate([reader], range(2, 25), damping=EXACT, step=step)
    assert len(found.removed[0]) > 3
    assert found.order == whole.order
    assert found.error == pytest.approx(whole.error)
    for count in range(2, 25):
        (weight,), (expected,) = (each.weights(count, [reader.weight]) for each in (found, whole))
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-4)
        gone = list(found.order[: 24 - count])
        exact = solved(reader, gone).float()
        torch.testing.assert_close(weight, exact, rtol=1e-3, atol=1e-3)
        assert not weight[:, reader.columns[gone].flatten()].any()


def test_what_is_kept_is_half_a_matrix_whatever_counts_are_asked_for() -> None:
    reader = made(64, 9, 40)
    found = eliminate([reader], range(1, 65), step=4)
    kept = sum(block.rows.nbytes for block in found.removed[0] if block.rows is not None)
    assert kept < 4 * 577**2  # one matrix of columns by columns, not 64 of weights
    assert kept < 64 * reader.weight.nbytes / 2


def test_elimination_takes_no_second_matrix_of_columns_by_columns() -> None:
    """The moments become their inverse, the inverse what is left of it, all in one place."""
    state = ReaderState(made(200, 3, 2), EXACT)
    place = state.inverse.data_ptr()
    for first in range(0, 198, 6):
        state.remove(range(first, first + 6))
    assert state.inverse.data_ptr() == place
    assert state.inverse.shape[0] < 601


def test_moments_without_an_inverse_count_every_input_alike() -> None:
    reader = Reader(torch.eye(3, 4), torch.full((4, 4), torch.nan), torch.arange(3).unsqueeze(1))
    found = remove_channels([reader], [1], in_order([2, 0, 1]))
    (weight,) = found.weights(1, [reader.weight])
    assert weight.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_kept_channels_ascend_and_are_as_many_as_asked_for() -> None:
    found = PruningOrder((3, 0, 4, 1, 2), (), {})
    assert found.kept(5).tolist() == [0, 1, 2, 3, 4]
    assert found.kept(3).tolist() == [1, 2, 4]
    assert found.kept(1).tolist() == [2]
