"""Channels merged into others, without data."""

from __future__ import annotations

from typing import Any

import torch
from ranked import compressor_for, group_of, images_of
from small import Plain, Shortcuts, seeded

from automl.compression.database import build_database, readers_of
from automl.compression.importance.merge import Merge, distances
from automl.policy.policy import Policy
from automl.testing.importances import ImportanceContract


def test_a_channel_that_is_there_twice_goes_first_and_nothing_changes() -> None:
    model: Any = seeded(Plain)
    with torch.no_grad():
        for twin, of in ((6, 1), (3, 1)):
            model.first.weight[twin], model.first.bias[twin] = (
                model.first.weight[of],
                model.first.bias[of],
            )
    images = images_of(6)
    made = compressor_for(model, images)
    database = build_database(made.statistics, {"first": (6,)}, Merge())
    kept = database.kept(Policy({"first": 6}))["first"].tolist()
    assert len({1, 3, 6} & set(kept)) == 1
    with torch.no_grad():
        found, dense = database.candidate(Policy({"first": 6}))(images), model.eval()(images)
    torch.testing.assert_close(found, dense, rtol=1e-4, atol=1e-5)


def test_weights_that_read_a_channel_are_added_along_chains_of_merges() -> None:
    made = compressor_for(seeded(Shortcuts), images_of(4))
    group = group_of(made, "stem")
    readers, _ = readers_of(made.traced.model, group, made.statistics.features)
    found = Merge().eliminate(group, readers, range(1, group.channels + 1), made.statistics)
    for count in range(1, group.channels + 1):
        weights = found.weights(count, [reader.weight for reader in readers])
        for reader, weight in zip(readers, weights, strict=True):
            both = (reader.weight[:, reader.columns].sum(1), weight[:, reader.columns].sum(1))
            torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)
            assert torch.equal(weight[:, -1], reader.weight[:, -1])


def test_a_channel_that_is_read_little_goes_before_one_that_is_read_much() -> None:
    model: Any = seeded(Plain)
    with torch.no_grad():
        model.second.weight[:, 4] *= 1e-4
    made = compressor_for(model, images_of(4))
    group = group_of(made, "first")
    readers, _ = readers_of(made.traced.model, group, made.statistics.features)
    assert int(Merge().order(group, readers, made.statistics)[0]) == 4


def test_no_data_is_read() -> None:
    made = compressor_for(seeded(Plain), images_of(4))
    group = group_of(made, "first")
    readers, _ = readers_of(made.traced.model, group, made.statistics.features)
    expected = Merge().order(group, readers, made.statistics)
    for reader in readers:
        reader.total = torch.full_like(reader.moments, torch.nan)
    assert torch.equal(Merge().order(group, readers, made.statistics), expected)


def test_layers_of_any_scale_tell_filters_apart_alike() -> None:
    one, other = torch.randn(4, 3), torch.randn(4, 5)
    torch.testing.assert_close(distances([one, other]), distances([one * 100, other]))


class TestMerge(ImportanceContract):
    name = "merge"
    beats_random = False  # the random orders are made up for with data
