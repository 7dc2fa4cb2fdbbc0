"""Input sizes that are offered: steps of the network's own stride."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.network.recorded import Trace
from automl.network.resolutions import input_sizes, stride_of
from automl.network.trace import record


def trace(size: int, halvings: int) -> Trace:
    """Of a network that halves its maps so many times, rounding up, and pools what is left."""
    layers = [
        nn.Conv2d(3 if not i else 2, 2, 3, stride=2 if i < halvings else 1, padding=1)
        for i in range(halvings + 1)
    ]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)).eval()
    return record(model, torch.zeros(1, 3, size, size), labelled=False)


@pytest.mark.parametrize(
    ("size", "halvings", "stride", "sizes"),
    [
        (224, 5, 32, (128, 160, 192)),
        (240, 5, 32, (128, 160, 192, 224)),
        (260, 5, 32, (160, 192, 224, 256)),
        (32, 2, 4, (16, 20, 24, 28)),
        (32, 3, 8, (16, 20, 24, 28)),
        (28, 2, 4, (16, 20, 24)),
        (96, 5, 32, (48, 64, 80)),
        (224, 2, 4, (112, 128, 144, 160, 176, 192, 208)),
        (8, 0, 1, ()),
    ],
)
def test_sizes_are_multiples_of_the_stride_down_to_half(
    size: int, halvings: int, stride: int, sizes: tuple[int, ...]
) -> None:
    recorded = trace(size, halvings)
    assert stride_of(size, recorded) == stride
    assert input_sizes(size, recorded) == sizes
