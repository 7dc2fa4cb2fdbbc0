"""Gaps between weights: whatever mask there is comes back, and nothing else does."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from automl.errors import QuantizationError
from automl.export.gaps import SPARSEST, decode_gaps, encode_gaps
from automl.export.huffman import code_lengths, encode


def drawn(count: int, share: float, seed: int = 0) -> np.ndarray:
    mask: np.ndarray = np.random.default_rng(seed).random(count) < share
    return mask


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.95, 1.0])
def test_a_mask_comes_back(share: float) -> None:
    for seed, count in enumerate((1, 7, 300, 5000)):
        mask = drawn(count, share, seed)
        mask[seed] = mask[seed] or not mask.any()
        assert (decode_gaps(encode_gaps(mask), count, int(mask.sum())) == mask).all()


def test_long_stretches_of_zeros_are_filled_at_both_ends_and_between() -> None:
    mask = np.zeros(2000, dtype=bool)
    mask[[0, 255, 256, 1300, 1301]] = True
    assert (decode_gaps(encode_gaps(mask), 2000, 5) == mask).all()
    mask[:] = False
    mask[900] = True
    assert (decode_gaps(encode_gaps(mask), 2000, 1) == mask).all()


def test_gaps_take_about_what_the_masks_entropy_is() -> None:
    mask, share = drawn(20_000, 0.1), 0.1
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert len(encode_gaps(mask)) < 1.06 * entropy * len(mask) / 8


@pytest.mark.parametrize(("count", "kept"), [(300, 31), (300, 29), (299, 30), (560, 30), (30, 30)])
def test_other_numbers_of_places_or_weights_are_refused(count: int, kept: int) -> None:
    mask = np.zeros(300, dtype=bool)
    mask[9::10] = True
    assert int(mask.sum()) == 30
    with pytest.raises(QuantizationError, match="gaps of"):
        decode_gaps(encode_gaps(mask), count, kept)


def test_bytes_that_are_no_code_are_refused_and_nothing_large_is_made() -> None:
    whole = encode_gaps(drawn(500, 0.2))
    for broken in (b"", whole[:4], whole[:6], whole[:-3], b"\x01" + whole[1:], b"\xff" + whole[1:]):
        with pytest.raises(QuantizationError):
            decode_gaps(broken, 500, int(drawn(500, 0.2).sum()))
    huge = struct.pack("<BI", 4, (1 << 32) - 1) + whole[5:]
    with pytest.raises(QuantizationError):
        decode_gaps(huge, 500, 100)
    symbols = np.zeros(8, dtype=np.uint8)
    lengths = code_lengths(symbols, 4)
    assert len(encode(symbols, lengths)) == 1
    assert SPARSEST < 100
