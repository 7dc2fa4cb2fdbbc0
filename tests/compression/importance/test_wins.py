"""Pieces of maxout units by how often they win."""

from __future__ import annotations

import pytest
import torch
from maxouts import Maxout, accuracy, data, trained
from ranked import compressor_for, images_of
from small import Shortcuts, seeded

from automl.compression import (
    CompressionConfig,
    Compressor,
    check_needs,
    measure_sensitivity,
)
from automl.errors import UsageError
from automl.network import TracedModel, trace_network
from automl.policy import Policy
from automl.space import build_space
from automl.testing.importances import ImportanceContract

INPUTS = data(512, 3)[0]
HALF = Policy({"one#2": 4, "two#2": 4})


def made(traced: TracedModel, importance: str) -> Compressor:
    counts = {group.name: (group.channels // 2,) for group in traced.network.groups}
    return Compressor(traced, INPUTS, counts, config=CompressionConfig(importance=importance))


def test_half_of_the_pieces_go_at_equal_accuracy_and_fewer_by_chance() -> None:
    for seed, layout in ((0, "units"), (1, "pieces")):
        model = trained(seed, layout=layout)
        traced, dense = trace_network(model, (1, 8)), accuracy(model)
        by_wins, by_chance = made(traced, "wins"), made(traced, "random")
        assert dense > 99.0
        assert accuracy(by_wins.make(HALF)) > dense - 0.3
        assert accuracy(by_wins.make(HALF)) > accuracy(by_chance.make(HALF)) + 0.3
        raw, drawn = (each.make(HALF, finish=False) for each in (by_wins, by_chance))
        assert accuracy(raw) > accuracy(drawn) + 5.0


def test_what_no_longer_is_changes_the_dense_network_as_it_changes_the_cut_one() -> None:
    traced = trace_network(Maxout(layout="pieces"), (1, 8))
    counts = {group.name: range(1, group.channels) for group in traced.network.groups}
    found = Compressor(traced, INPUTS, counts, config=CompressionConfig(importance="wins"))
    space = build_space(traced.network)
    rows = measure_sensitivity(found.database, space, INPUTS[:16]).single
    with torch.no_grad():
        dense = found.traced.model(INPUTS[:16])
        for variable, row in zip(space.variables, rows, strict=True):
            assert row.max() > 0
            for option, sensitivity in zip(variable.options[:-1], row[:-1], strict=True):
                small = found.database.candidate(Policy({variable.name: option}))
                error = (small(INPUTS[:16]) - dense).square() / dense.var(0)
                assert float(error.mean()) == pytest.approx(float(sensitivity), rel=0.2)


def test_units_and_pieces_go_together_as_priced() -> None:
    traced = trace_network(Maxout(), (1, 8))
    policy = Policy({"one": 3, "one#2": 2, "two#2": 2})
    small = made(traced, "wins").make(policy)
    assert small(INPUTS[:3]).shape == (3, 4)
    shapes = traced.network.shapes(policy.channels)
    counted = trace_network(small, (1, 8)).network.layers
    assert [each.macs for each in shapes] == [each.macs for each in counted]


def test_a_network_without_maxout_is_refused() -> None:
    traced = compressor_for(seeded(Shortcuts), images_of(4)).traced
    with pytest.raises(UsageError, match="takes no maximum over pieces that can go"):
        check_needs("wins", traced, images_of(4), None)
    check_needs("wins", trace_network(Maxout(), (1, 8)), INPUTS[:2], None)


class TestWins(ImportanceContract):
    name = "wins"
