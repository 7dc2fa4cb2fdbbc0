"""Where the weights of a sparse tensor are: the gaps between them, Huffman-coded.

Source: Han et al. 2016 (Deep Compression), section 3.1: the distance to the last weight, in few
bits, with a filler where it is larger, and the codes of section 4. Differs: a filler stands for
zeros alone and has no weight of its own, and the bits of a gap are those that make a tensor the
smallest.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.errors import QuantizationError
from automl.export.bitstream import pack_bits, unpack_bits
from automl.export.huffman import code_lengths, decode, encode

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
#: Bits of a gap that are tried.
_BITS: Final = range(2, 9)
#: Places for each weight, at most, that are coded so: what a small file unpacks to is bounded.
SPARSEST: Final = 64
_HEAD: Final = struct.Struct("<BI")


def encode_gaps(mask: Flags) -> bytes:
    """Which places have weights, in as few bytes as gaps of any bits take."""
    return min((_encoded(mask, bits) for bits in _BITS), key=len)


def decode_gaps(content: bytes, count: int, kept: int) -> Flags:
    """Which of so many places have weights.

    Args:
        content: As `encode_gaps` gives it.
        count: Places, no more than `SPARSEST` for each weight.
        kept: How many have weights.

    Raises:
        QuantizationError: Bytes that are no such code.
    """
    if len(content) < _HEAD.size:
        raise QuantizationError("the gaps between weights are cut off")
    bits, symbols = _HEAD.unpack_from(content)
    table = -(-(1 << bits) // 2) if bits in _BITS else 0
    if not table or len(content) < _HEAD.size + table:
        raise QuantizationError(f"gaps of {bits} bits between weights")
    lengths = unpack_bits(content[_HEAD.size : _HEAD.size + table], 4, 1 << bits)
    found = decode(content[_HEAD.size + table :], lengths, symbols)
    filler = (1 << bits) - 1
    weights = found < filler
    after = np.cumsum(np.where(weights, found.astype(np.int64) + 1, filler))
    places = after[weights] - 1
    end = int(after[-1]) if len(after) else 0
    if len(places) != kept or not end <= count < end + filler:
        raise QuantizationError(
            f"gaps of {len(places):,} weights in {end:,} places, not of {kept:,} in {count:,}"
        )
    mask = np.zeros(count, dtype=np.bool_)
    mask[places] = True
    return mask


def _encoded(mask: Flags, bits: int) -> bytes:
    symbols = _symbols(mask, bits)
    lengths = code_lengths(symbols, 1 << bits)
    return _HEAD.pack(bits, len(symbols)) + pack_bits(lengths, 4) + encode(symbols, lengths)


def _symbols(mask: Flags, bits: int) -> Bytes:
    """Zeros before each weight, below the largest number; that is a filler of so many zeros."""
    filler = (1 << bits) - 1
    zeros = np.diff(np.flatnonzero(mask), prepend=-1) - 1
    behind = len(mask) - 1 - (np.flatnonzero(mask)[-1] if mask.any() else -1)
    fillers = np.append(zeros // filler, behind // filler)
    ends = np.cumsum(fillers + 1)  # each weight after its fillers
    symbols = np.full(int(ends[-1]) - 1, filler, dtype=np.uint8)
    symbols[ends[:-1] - 1] = zeros % filler
    return symbols
