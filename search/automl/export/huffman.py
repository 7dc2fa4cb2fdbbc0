"""Canonical Huffman codes of up to 256 symbols, no code longer than 15 bits.

Source: Han et al. 2016 (Deep Compression), section 4; canonical codes after Schwartz & Kallick
1964, so that the lengths alone are stored. Differs: lengths are limited by halving the counts until
they fit, as bzip2 does, so that a table of 2^15 entries decodes any code in one look.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.errors import QuantizationError

Bytes = NDArray[np.uint8]
LONGEST: Final = 15
#: Symbols that are encoded, and bytes that are decoded, at a time.
_CHUNK: Final = 1 << 16


def code_lengths(symbols: Bytes, size: int) -> Bytes:
    """Bits of each symbol's code, 0 for symbols that do not occur: [size]."""
    counts = np.bincount(symbols, minlength=size)
    lengths = _depths(counts)
    while lengths.max(initial=0) > LONGEST:
        counts = (counts + 1) // 2
        lengths = _depths(counts)
    return lengths


def encode(symbols: Bytes, lengths: Bytes) -> bytes:
    """The codes of all symbols, the first bit of each byte the highest, the last byte filled up."""
    codes = _codes(lengths)
    columns = np.arange(LONGEST)
    parts, rest = [], np.empty(0, dtype=np.uint8)
    for start in range(0, len(symbols), _CHUNK):
        part = symbols[start : start + _CHUNK]
        extent = lengths[part]
        bits = (codes[part, None] >> np.maximum(extent[:, None] - 1 - columns, 0)) & 1
        bits = np.concatenate([rest, bits[columns < extent[:, None]].astype(np.uint8)])
        whole = len(bits) // 8 * 8
        parts.append(np.packbits(bits[:whole]).tobytes())
        rest = bits[whole:]
    return b"".join([*parts, np.packbits(rest).tobytes()])


def decode(stream: bytes, lengths: Bytes, count: int) -> Bytes:
    """The first `count` symbols of a stream.

    Raises:
        QuantizationError: Lengths that are no code, or a stream that is not exactly `count` long.
    """
    if not _is_code(lengths):
        raise QuantizationError("the Huffman code is not one")
    if count > 8 * len(stream) or (count and not lengths.any()):  # each code is a bit at least
        raise QuantizationError(
            f"the Huffman codes do not end where the weights do: {len(stream)} bytes of"
            f" {int(np.count_nonzero(lengths))} symbols hold no {count:,} of them"
        )
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    spans = 1 << (LONGEST - lengths[order].astype(np.int64))
    symbol_at = np.repeat(order.astype(np.uint8), spans)
    length_at = np.repeat(lengths[order], spans)
    if len(symbol_at) < 1 << LONGEST:  # a single symbol: the code "1" is never written
        symbol_at, length_at = (
            np.resize(symbol_at, 1 << LONGEST),
            np.resize(length_at, 1 << LONGEST),
        )
    symbols = np.empty(count, dtype=np.uint8)
    known, place = 0, 0
    for start, peeks in _windows(stream):
        after = (np.arange(len(peeks)) + length_at[peeks]).tolist()
        taken: list[int] = []
        place -= 8 * start
        while place < len(after) and len(taken) < count - known:
            taken.append(place)
            place = after[place]
        place += 8 * start
        if taken:
            symbols[known : known + len(taken)] = symbol_at[peeks[taken]]
        known += len(taken)
    if known < count or not 0 <= 8 * len(stream) - place < 8:
        raise QuantizationError("the Huffman codes do not end where the weights do")
    return symbols


def _windows(stream: bytes) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """A stretch's first byte, and for each of its bits the next 15 as a number."""
    padded = np.frombuffer(stream + b"\0\0", dtype=np.uint8)
    shifts = 24 - LONGEST - np.arange(8)
    for start in range(0, len(stream), _CHUNK):
        first = padded[start : start + _CHUNK + 2].astype(np.int64)
        words = (first[:-2] << 16) | (first[1:-1] << 8) | first[2:]
        yield start, ((words[:, None] >> shifts) & ((1 << LONGEST) - 1)).ravel()


def _is_code(lengths: Bytes) -> bool:
    """Whether the lengths are those of a complete code, or of a single symbol."""
    used = lengths[lengths > 0].astype(np.int64)
    if len(used) == 1:
        return int(used[0]) == 1
    fits = len(used) == 0 or int(used.max()) <= LONGEST
    return fits and int((1 << (LONGEST - used)).sum()) in (0, 1 << LONGEST)


def _codes(lengths: Bytes) -> NDArray[np.int64]:
    """Canonical codes: by length, then by symbol."""
    codes = np.zeros(len(lengths), dtype=np.int64)
    code = before = 0
    for symbol in np.argsort(lengths, kind="stable").tolist():
        length = int(lengths[symbol])
        if length:
            code <<= length - before
            codes[symbol], before = code, length
            code += 1
    return codes


def _depths(counts: NDArray[np.int64]) -> Bytes:
    """Depth of each symbol in a Huffman tree; 1 where there is only one."""
    lengths = np.zeros(len(counts), dtype=np.uint8)
    present = np.flatnonzero(counts)
    if len(present) == 1:
        lengths[present] = 1
        return lengths
    heap = [(int(counts[symbol]), int(symbol), [int(symbol)]) for symbol in present]
    heapq.heapify(heap)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        together = first[2] + second[2]
        lengths[together] += 1
        heapq.heappush(heap, (first[0] + second[0], min(first[1], second[1]), together))
    return lengths
