"""Huffman codes: what goes in comes out, as short as can be, and damage is seen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from automl.errors import QuantizationError
from automl.export.huffman import LONGEST, code_lengths, decode, encode


def made(kind: str, count: int, size: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if kind == "even":
        return generator.integers(0, size, count).astype(np.uint8)
    if kind == "bell":
        drawn = generator.normal(size / 2, size / 8, count)
        return np.clip(np.round(drawn), 0, size - 1).astype(np.uint8)
    return np.full(count, size - 1, dtype=np.uint8)


@pytest.mark.parametrize("size", [2, 4, 16, 256])
@pytest.mark.parametrize("count", [1, 7, 1000, 200_001])
@pytest.mark.parametrize("kind", ["even", "bell", "same"])
def test_what_goes_in_comes_out(kind: str, count: int, size: int) -> None:
    symbols = made(kind, count, size)
    lengths = code_lengths(symbols, size)
    stream = encode(symbols, lengths)
    assert len(stream) == -(-int(lengths[symbols].astype(np.int64).sum()) // 8)
    assert np.array_equal(decode(stream, lengths, count), symbols)


def test_the_length_is_within_a_bit_of_the_entropy() -> None:
    symbols = made("bell", 100_000, 64)
    share = np.bincount(symbols) / len(symbols)
    share = share[share > 0]
    entropy = -(share * np.log2(share)).sum()
    mean = code_lengths(symbols, 64)[symbols].mean()
    assert entropy <= mean < entropy + 0.05


def test_lengths_are_the_best_of_all_codes() -> None:
    counts = [13, 1, 5, 2, 4]
    symbols = np.repeat(np.arange(5), counts).astype(np.uint8)
    complete = (
        lengths
        for lengths in itertools.product(range(1, 6), repeat=5)
        if sum(2.0**-length for length in lengths) <= 1
    )
    best = min(sum(c * n for c, n in zip(counts, lengths, strict=True)) for lengths in complete)
    assert int(code_lengths(symbols, 5)[symbols].sum()) == best


def test_no_code_is_longer_than_the_table_holds() -> None:
    counts = [1, 1]
    while len(counts) < 24:  # Fibonacci's numbers make the deepest tree: 23 bits
        counts.append(counts[-1] + counts[-2])
    symbols = np.repeat(np.arange(24), counts).astype(np.uint8)
    lengths = code_lengths(symbols, 256)
    assert int(lengths.max()) <= LONGEST
    assert np.array_equal(decode(encode(symbols, lengths), lengths, len(symbols)), symbols)


@pytest.mark.parametrize("wrong", ["short", "long", "count"])
def test_streams_of_another_length_are_refused(wrong: str) -> None:
    symbols = made("bell", 5_000, 16)
    lengths = code_lengths(symbols, 16)
    stream = encode(symbols, lengths)
    stream = {"short": stream[:-3], "long": stream + b"\0", "count": stream}[wrong]
    with pytest.raises(QuantizationError, match="do not end where"):
        decode(stream, lengths, 5_000 + 16 * (wrong == "count"))


@pytest.mark.parametrize("lengths", [[1, 1, 1, 0], [2, 2, 2, 0], [0, 3, 0, 0], [16] * 4])
def test_lengths_that_are_no_code_are_refused(lengths: list[int]) -> None:
    with pytest.raises(QuantizationError, match="is not one"):
        decode(b"\0", np.array(lengths, dtype=np.uint8), 1)
