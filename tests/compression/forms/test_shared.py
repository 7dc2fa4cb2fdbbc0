"""What is said of layers whose weights are few numbers."""

from __future__ import annotations

import numpy as np
import pytest

from automl.compression.forms.circulant import Circulant
from automl.compression.forms.shared import index_bits, up
from automl.network import Layer
from automl.policy import Bits


def test_quotients_and_bits_of_numbers_and_of_arrays() -> None:
    assert (up(7, 2), up(8, 2)) == (4, 4)
    assert up(np.array([7, 8]), 2).tolist() == [4, 4]
    assert [index_bits(count) for count in (1, 2, 3, 4, 5, 256, 257)] == [1, 1, 2, 2, 3, 8, 9]
    assert index_bits(np.array([4, 5])).tolist() == [2, 3]


def test_a_rounded_layer_has_its_weights_one_by_one() -> None:
    layer = Layer("", "conv2d", 8, 16, (3, 3))
    assert Circulant().bytes(4, layer, Bits()) == 4 * 8 * 16 * 9 / 4
    assert Circulant().bytes(4, layer, Bits(16, 16)) == 2 * 8 * 16 * 9 / 4
    assert Circulant().bytes(4, layer, Bits(8, 8)) == 8 * 16 * 9 + 4 * 16


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Layer("", "conv2d", 8, 8, (3, 3), groups=2), "it does not mix all of its channels"),
        (Layer("", "linear", 1, 8), "it has one channel"),
        (Layer("", "linear", 4, 8), "it has 4 channels"),
        (Layer("", "linear", 8, 8), ""),
    ],
)
def test_what_a_layer_needs(layer: Layer, said: str) -> None:
    assert Circulant().refusal(8, layer) == said
