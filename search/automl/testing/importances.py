"""What every importance has to hold to; see `automl.testing`."""

from __future__ import annotations

import copy
from typing import ClassVar
from unittest import SkipTest

import numpy as np
import torch

from automl.compression import (
    IMPORTANCES,
    ChannelStatistics,
    CompressionConfig,
    Compressor,
    Importance,
    Reader,
    build_database,
    readers_of,
)
from automl.network import ChannelGroup
from automl.policy import Policy
from automl.testing.networks import loss, made_compressor

Tensor = torch.Tensor


class RandomOrder(Importance):
    """Channels in an order that is drawn: what an importance is held against."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def order(self, group: ChannelGroup, readers: object, statistics: ChannelStatistics) -> Tensor:
        """A permutation."""
        generator = torch.Generator().manual_seed(self._seed)
        return torch.randperm(group.channels, generator=generator)


class ImportanceContract:
    """Six promises. Inherit it, and override what differs.

    Attributes:
        name: The importance's, as it is asked for, with options where it needs some.
        beats_random: Whether it claims to; a baseline need not.
    """

    name: ClassVar[str]
    beats_random: ClassVar[bool] = True

    def make(self) -> Importance:
        """The importance."""
        return IMPORTANCES.build(self.name)

    def compressor(self, seed: int = 0) -> Compressor:
        """A compressor of a drawn network."""
        return made_compressor(CompressionConfig(), seed)

    def test_every_channel_is_ordered_once(self) -> None:
        """In every group."""
        made, importance = self.compressor(), self.make()
        for group in made.traced.network.groups:
            order = importance.order(group, _readers(made, group), made.statistics)
            assert sorted(map(int, order)) == list(range(group.channels))

    def test_the_order_does_not_depend_on_what_was_ranked_before(self) -> None:
        """The same group twice, others in between, and by another instance."""
        made, importance = self.compressor(seed=1), self.make()
        groups = made.traced.network.groups

        def orders(by: Importance) -> list[list[int]]:
            return [
                [int(each) for each in by.order(group, _readers(made, group), made.statistics)]
                for group in groups
            ]

        first = orders(importance)
        assert orders(importance) == first
        assert orders(self.make()) == first

    def test_what_it_reads_stays_as_it_is(self) -> None:
        """Readers and statistics."""
        made, importance = self.compressor(seed=2), self.make()
        for group in made.traced.network.groups:
            readers = _readers(made, group)
            before = copy.deepcopy((readers, made.features(0).moments))
            importance.order(group, readers, made.statistics)
            importance.eliminate(group, readers, [1, group.channels], made.statistics)
            for reader, was in zip(readers, before[0], strict=True):
                assert torch.equal(reader.weight, was.weight)
                assert torch.equal(reader.moments, was.moments)
            for name, moments in made.features(0).moments.items():
                assert torch.equal(moments.total, before[1][name].total)

    def test_counts_that_nobody_asks_for_change_nothing(self) -> None:
        """A count alone leaves the channels and weights that it leaves among all of them."""
        made, importance = self.compressor(seed=3), self.make()
        for group in made.traced.network.groups:
            readers, statistics = _readers(made, group), made.statistics
            every = importance.eliminate(group, readers, range(1, group.channels + 1), statistics)
            half = group.channels // 2
            alone = importance.eliminate(group, readers, [half], statistics)
            assert torch.equal(alone.kept(half), every.kept(half))
            dense = [reader.weight for reader in readers]
            found = zip(alone.weights(half, dense), every.weights(half, dense), strict=True)
            for one, other in found:
                assert torch.equal(one, other)

    def test_what_goes_is_read_by_nothing_any_more(self) -> None:
        """Columns of channels that are gone are zero, and all weights are finite."""
        made, importance = self.compressor(seed=4), self.make()
        for group in made.traced.network.groups:
            readers = _readers(made, group)
            found = importance.eliminate(group, readers, [1], made.statistics)
            gone = list(found.order[: group.channels - 1])
            assert found.kept(1).tolist() == [found.order[-1]]
            dense = [reader.weight for reader in readers]
            for reader, weight in zip(readers, found.weights(1, dense), strict=True):
                assert not weight[:, reader.columns[gone].flatten()].any()
                assert torch.isfinite(weight).all()

    def test_it_loses_less_than_a_random_order(self) -> None:
        """In the mean over three networks at half of the channels, weights updated alike."""
        if not self.beats_random:
            raise SkipTest("a baseline that need not")
        mine, by_chance = [], []
        for seed in range(3):
            made = self.compressor(seed)
            half = {group.name: group.channels // 2 for group in made.traced.network.groups}
            mine.append(loss(made, _cut(made, self.make(), half)))
            rivals = [_cut(made, RandomOrder(each), half) for each in range(3)]
            by_chance.append(np.mean([loss(made, rival) for rival in rivals]))
        assert np.mean(mine) < np.mean(by_chance)


def _readers(made: Compressor, group: ChannelGroup) -> list[Reader]:
    return readers_of(made.traced.model, group, made.features(0))[0]


def _cut(made: Compressor, importance: Importance, counts: dict[str, int]) -> torch.nn.Module:
    options = {name: (count,) for name, count in counts.items()}
    database = build_database(made.statistics, options, importance)
    return database.candidate(Policy(counts))
