"""Orders that are drawn: from the search's seed alone, and the best of several."""

from __future__ import annotations

import pytest
import torch
from ranked import compressor_for, images_of, orders
from small import Shortcuts, seeded

from automl.compression.importance.random import Random, half_error
from automl.errors import UsageError
from automl.testing.importances import ImportanceContract


def test_the_seed_of_the_search_decides() -> None:
    one, other = (compressor_for(seeded(Shortcuts), images_of(4), seed=seed) for seed in (1, 2))
    again = compressor_for(seeded(Shortcuts), images_of(4), seed=1)
    assert orders("random", one) == orders("random", again)
    assert orders("random", one) != orders("random", other)
    groups = orders("random", one)
    assert groups["same.inner"] != groups["same2.inner"]  # of as many channels


def test_the_best_of_several_is_no_worse_than_the_first_and_better_somewhere() -> None:
    made = compressor_for(seeded(Shortcuts), images_of(16))
    first, best = orders("random", made), orders("random:tries=8", made)

    def errors(found: dict[str, list[int]]) -> list[float]:
        return [
            half_error(torch.tensor(found[group.name]), group, made.statistics)
            for group in made.traced.network.groups
        ]

    pairs = list(zip(errors(dict(best)), errors(dict(first)), strict=True))
    assert all(one <= other for one, other in pairs)
    assert any(one < 0.9 * other for one, other in pairs)


def test_no_tries_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 of tries, not 0"):
        Random(tries=0)


class TestRandom(ImportanceContract):
    name = "random"
    beats_random = False


class TestRandomTries(ImportanceContract):
    name = "random:tries=6"
