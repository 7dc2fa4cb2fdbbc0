"""The contract of importances finds out what does not hold to it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.obs import Obs
from automl.network.layers import ChannelGroup
from automl.testing.importances import ImportanceContract, RandomOrder


class Contract(ImportanceContract):
    name = "obs"

    def __init__(self, importance: type[Importance]) -> None:
        self.importance = importance

    def make(self) -> Importance:
        return self.importance()


class Largest(Importance):
    """The channels that are read most go first."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        energy = sum(
            (reader.weight[:, reader.columns].square().sum((0, 2)) for reader in readers),
            torch.zeros(group.channels),
        )
        return energy.argsort(descending=True)


class Worst(Importance):
    """What is missed most goes first."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        return Obs().order(group, readers, statistics).flip(0)


class Greedy(Importance):
    """Leaves a channel out."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        return torch.arange(group.channels - 1)


class Drifting(Importance):
    """Another order each time."""

    calls = 0

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        Drifting.calls += 1
        return RandomOrder(Drifting.calls).order(group, readers, statistics)


class Careless(Largest):
    """Writes into what it is given."""

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        readers[0].weight[:] = 0.0
        return super().order(group, readers, statistics)


@pytest.mark.parametrize(
    ("importance", "promise"),
    [
        (Greedy, "test_every_channel_is_ordered_once"),
        (Drifting, "test_the_order_does_not_depend_on_what_was_ranked_before"),
        (Drifting, "test_counts_that_nobody_asks_for_change_nothing"),
        (Careless, "test_what_it_reads_stays_as_it_is"),
        (Worst, "test_it_loses_less_than_a_random_order"),
    ],
)
def test_what_breaks_a_promise_is_found_out(importance: type[Importance], promise: str) -> None:
    with pytest.raises(AssertionError):
        getattr(Contract(importance), promise)()


def test_a_baseline_keeps_the_other_promises() -> None:
    contract = Contract(Largest)
    contract.test_every_channel_is_ordered_once()
    contract.test_the_order_does_not_depend_on_what_was_ranked_before()
    contract.test_what_it_reads_stays_as_it_is()
    contract.test_counts_that_nobody_asks_for_change_nothing()
    contract.test_what_goes_is_read_by_nothing_any_more()
