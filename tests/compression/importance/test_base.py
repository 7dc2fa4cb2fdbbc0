"""An order is enough for an importance; whatever orders, the rest is done alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import torch
from readers import made
from torch import Tensor

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader, in_order, remove_channels
from automl.errors import PruningError
from automl.network.layers import ChannelGroup

GROUP = ChannelGroup("stem", 6, (), ())
NOTHING = cast(ChannelStatistics, None)  # what is ranked by its readers alone reads no more


class Given(Importance):
    def __init__(self, order: Sequence[int]) -> None:
        self._order = torch.tensor(order)

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        return self._order


def test_channels_go_in_the_order_that_is_given_and_weights_are_updated() -> None:
    reader, order = made(6, 2, 4), [4, 0, 5, 2, 1, 3]
    found = Given(order).eliminate(GROUP, [reader], [2, 6], NOTHING)
    expected = remove_channels([reader], [2, 6], in_order(order))
    assert found.kept(2).tolist() == [1, 3]
    dense = [reader.weight]
    (weight,), (same,) = found.weights(2, dense), expected.weights(2, dense)
    assert torch.equal(weight, same)
    (whole,) = found.weights(6, dense)
    assert torch.equal(whole, reader.weight)
    assert found.error == expected.error


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ([0, 1, 2, 3, 4], "5 given, 5 different"),
        ([0, 1, 2, 3, 4, 4], "6 given, 5 different"),
        ([1, 2, 3, 4, 5, 6], "6 given, 6 different"),
    ],
)
def test_an_order_that_does_not_name_each_channel_once_is_refused(
    order: list[int], reason: str
) -> None:
    with pytest.raises(PruningError, match=f".*6 channels of stem.*{reason}"):
        Given(order).eliminate(GROUP, [made(6, 1, 4)], [3], NOTHING)
