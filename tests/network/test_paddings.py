"""Zeros around maps are part of the convolution that reads them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.layers import Layer
from automl.network.paddings import paddings_of, with_padding
from automl.network.trace import record
from automl.network.traced_model import trace_network


class Padded(nn.Module):
    """Pads, and convolves."""

    def __init__(self, amounts: tuple[int, ...], value: float = 0.0, twice: bool = False) -> None:
        super().__init__()
        self.amounts, self.value, self.twice = amounts, value, twice
        self.conv = nn.Conv2d(3, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.amounts, value=self.value)
        return self.conv(x) * x.mean() if self.twice else self.conv(x)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (Padded((0, 1, 2, 0)), [((2, 0), (0, 1))]),
        (Padded((1, 1)), [((0, 0), (1, 1))]),
        (Padded((0, 1, 0, 1), 1.0), []),
        (Padded((0, -1, 0, 1)), []),
        (Padded((0, 1, 0, 1), twice=True), []),
    ],
)
def test_zeros_that_convolutions_alone_read_are_found(model: nn.Module, found: object) -> None:
    assert [*paddings_of(record(model, torch.zeros(1, 3, 8, 8))).values()] == found


def test_the_layer_has_the_output_that_the_zeros_gave_it() -> None:
    layer = Layer("c", "conv2d", 3, 4, (3, 3), (2, 2), in_size=(11, 9), out_size=(5, 4))
    found = with_padding(layer, ((2, 1), (0, 1)))
    assert (found.in_size, found.out_size) == ((8, 8), (5, 4))
    for axis in (0, 1):
        reach = (found.in_size[axis] + 2 * found.padding[axis] - 3) // 2 + 1
        assert reach == found.out_size[axis]
    even = Layer("c", "conv2d", 3, 4, (2, 2), in_size=(9, 9), out_size=(8, 8))
    assert with_padding(even, ((0, 1), (0, 1))) == even  # no padding of both ends gives 8 of 8


def test_a_network_is_priced_without_them() -> None:
    layers = trace_network(Padded((0, 1, 0, 1)), (1, 3, 8, 8)).network.layers
    (conv,) = layers
    assert (conv.op, conv.in_size, conv.padding, conv.out_size) == (
        "conv2d",
        (8, 8),
        (1, 1),
        (4, 4),
    )
