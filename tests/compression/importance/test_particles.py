"""Particles find more than drawing alone does."""

from __future__ import annotations

import pytest
import torch
from ranked import compressor_for, images_of, orders
from small import Shortcuts, seeded

from automl.compression.importance.particles import Particles, likelihoods, moved
from automl.compression.importance.random import half_error
from automl.errors import UsageError
from automl.testing.importances import ImportanceContract


def test_they_leave_less_error_than_as_many_drawn_orders() -> None:
    made = compressor_for(seeded(Shortcuts), images_of(16))

    def total(importance: str) -> float:
        found = orders(importance, made)
        groups = made.traced.network.groups
        return sum(half_error(torch.tensor(found[g.name]), g, made.statistics) for g in groups)

    assert total("particles:particles=6,rounds=4") < total("random:tries=6")
    assert total("particles:particles=6,rounds=4") <= 1.02 * total("random:tries=24")


def test_the_likeliest_has_the_least_error() -> None:
    found = likelihoods(torch.tensor([0.5, 0.1, 0.3]).double())
    assert float(found.sum()) == pytest.approx(1.0)
    assert found.argsort(descending=True).tolist() == [1, 2, 0]
    assert likelihoods(torch.ones(4)).tolist() == [0.25] * 4


def test_what_moves_changes_halves() -> None:
    generator = torch.Generator().manual_seed(0)
    order = torch.arange(16)
    found = moved(order, 8, generator)
    assert sorted(found.tolist()) == list(range(16))
    assert len(set(found[:8].tolist()) & set(range(8))) == 7
    assert moved(torch.arange(1), 0, generator).tolist() == [0]


def test_too_few_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 particles and 1 of rounds, not 1 and 4"):
        Particles(particles=1)


class TestParticles(ImportanceContract):
    name = "particles:particles=4,rounds=2"
