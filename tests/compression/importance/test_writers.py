"""Filters of all kinds of layers, channel by channel."""

from __future__ import annotations

from typing import Any

import torch
from ranked import compressor_for, group_of, images_of
from small import Plain, seeded
from torch import Tensor, nn
from torch.nn import functional as F


class Written(nn.Module):
    """Channels that a transposed, a grouped, a depthwise and a linear layer write."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 8, 2, stride=2)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.point, self.deep = nn.Conv2d(12, 10, 1), nn.Conv2d(10, 10, 3, groups=10)
        self.linear, self.head = nn.Linear(10, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.grouped(F.relu(self.up(x))))
        x = F.relu(self.deep(F.relu(self.point(x)))).mean((2, 3))
        return self.head(F.relu(self.linear(x)))  # type: ignore[no-any-return]


def test_a_filter_is_all_that_writes_a_channel() -> None:
    """Each filter alone, when the others are zero, writes what the layer writes of its channel."""
    made = compressor_for(seeded(Written), images_of(2))
    model: Any = made.traced.model
    for group in made.traced.network.groups:
        for channel in range(group.channels):
            expected = []
            for side in group.producers:
                module = model.get_submodule(side.module)
                at = list(side.positions[channel])
                transposed = isinstance(module, nn.ConvTranspose2d)
                weight = module.weight.transpose(0, 1) if transposed else module.weight
                expected.append(float(weight[at].abs().sum()))
            found = [float(each[channel].abs().sum()) for each in made.statistics.filters(group)]
            torch.testing.assert_close(found, expected)
    deep = group_of(made, "point")
    assert len(made.statistics.filters(deep)) == 2  # the depthwise layer's too


def test_biases_come_last() -> None:
    made = compressor_for(seeded(Plain), images_of(2))
    (filters,) = made.statistics.filters(group_of(made, "first"), biases=True)
    assert filters.shape == (8, 28)
    assert torch.equal(filters[:, -1], made.traced.model.first.bias)  # type: ignore[arg-type]
