"""Channels removed in an order that is given, against brute force."""

from __future__ import annotations

import pytest
import torch
from readers import EXACT, error, made, solved

from automl.compression.importance.elimination import (
    PruningOrder,
    ReaderState,
    in_order,
    remove_channels,
)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [4, 1, 5, 0, 3, 2]])
def test_the_weights_that_stay_are_those_of_least_squares(order: list[int]) -> None:
    readers = [made(6, 2, 4, seed=1), made(6, 1, 3, seed=2)]
    found = remove_channels(readers, range(1, 7), in_order(order), damping=EXACT)
    assert list(found.order) == order
    for count in range(1, 7):
        gone = order[: 6 - count]
        for reader, weight in zip(readers, found.weights[count], strict=True):
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
    assert sorted(found.weights) == [4, 6]
    assert found.error == {6: 0.0, 4: 1.0}


def test_a_score_is_that_of_all_scores() -> None:
    state = ReaderState(made(6, 3, 4), EXACT)
    state.remove(2)
    scores = state.scores()
    for channel in (0, 1, 3, 4, 5):
        assert state.score(channel) == pytest.approx(float(scores[channel]), rel=1e-9)


def test_kept_channels_ascend_and_are_as_many_as_asked_for() -> None:
    found = PruningOrder((3, 0, 4, 1, 2), {}, {})
    assert found.kept(5).tolist() == [0, 1, 2, 3, 4]
    assert found.kept(3).tolist() == [1, 2, 4]
    assert found.kept(1).tolist() == [2]
