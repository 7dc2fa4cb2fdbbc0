"""Numbers of few bits, packed and unpacked."""

from __future__ import annotations

import numpy as np
import pytest

from automl.export.bitstream import pack_bits, unpack_bits


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [0, 1, 9, 1001, (1 << 20) + 3])
def test_numbers_come_back_from_as_few_bytes_as_can_be(bits: int, count: int) -> None:
    numbers = np.random.default_rng(0).integers(0, 1 << bits, count).astype(np.uint8)
    packed = pack_bits(numbers, bits)
    assert len(packed) == -(-count * bits // 8)
    assert np.array_equal(unpack_bits(packed, bits, count), numbers)


def test_the_first_number_lies_in_the_lowest_bits() -> None:
    assert pack_bits(np.array([1, 2, 7], dtype=np.uint8), 3) == bytes([0b11010001, 0b1])
