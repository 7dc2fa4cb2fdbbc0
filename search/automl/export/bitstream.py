"""Numbers of 1 to 8 bits side by side in bytes, the first in the lowest bits."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
#: Numbers that are packed at a time: a multiple of 8, so that each part ends with a byte.
_CHUNK: Final = 1 << 20


def pack_bits(numbers: Bytes, bits: int) -> bytes:
    """The numbers, each in `bits` bits; the last byte is filled up with zeros."""
    parts = []
    for start in range(0, len(numbers), _CHUNK):
        single = numbers[start : start + _CHUNK, None] >> np.arange(bits, dtype=np.uint8) & 1
        parts.append(np.packbits(single.ravel(), bitorder="little").tobytes())
    return b"".join(parts)


def unpack_bits(content: bytes | memoryview, bits: int, count: int) -> Bytes:
    """The first `count` numbers of `bits` bits each."""
    packed = np.frombuffer(content, dtype=np.uint8)
    result = np.empty(count, dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = packed[start * bits // 8 : (start + _CHUNK) * bits // 8]
        size = min(_CHUNK, count - start)
        single = np.unpackbits(part, count=size * bits, bitorder="little").reshape(size, bits)
        places = np.arange(bits, dtype=np.uint8)
        result[start : start + size] = (single << places).sum(1, dtype=np.uint8)
    return result
