"""The price of stored weights, number by number."""

from __future__ import annotations

import numpy as np
import pytest

from automl.network.layers import Layer
from automl.policy.policy import Bits
from automl.policy.sizes import operators_bytes, packed_bytes


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (Bits(32, 32), 4 * (90 + 5)),
        (Bits(16, 16), 2 * (90 + 5)),
        (Bits(8, 8), 90 + 4 * 10 + 4 * 5),
        (Bits(3, 5), 34 + 4 * 10 + 4 * 5),  # 270 bits are 34 bytes
        (Bits(3, 32), 34 + 4 * 8 + 4 * 5),
        (Bits(8, 32), 90 + 4 * 90 + 4 * 5),  # no more entries than weights
    ],
)
def test_bytes_of_a_layer(bits: Bits, expected: int) -> None:
    assert packed_bytes(90, 10, 5, bits) == expected
    several = packed_bytes(np.array([90, 90]), np.array([10, 10]), np.array([5, 5]), bits)
    assert several.tolist() == [expected, expected]


def test_nothing_weighs_nothing() -> None:
    for bits in (Bits(), Bits(4, 4), Bits(4, 32)):
        assert packed_bytes(0, 0, 0, bits) == 0


def test_operators_weigh_what_their_weights_do() -> None:
    first = Layer("", "conv2d", 8, 4, (3, 3), groups=2)
    some = (first, Layer("", "add", 4, 4), Layer("", "linear", 4, 10))
    assert operators_bytes(some, Bits()) == 4 * (4 * 4 * 9 + 4 * 10)
    assert operators_bytes(some, Bits(8, 8)) == 4 * 4 * 9 + 4 * 4 + 4 * 10 + 4 * 10
