"""What memory the process is resident with, and giving it back."""

from __future__ import annotations

import sys

import pytest
import torch

from automl.heap import give_back, peak_bytes, resident_bytes, reuse_freed


def test_giving_back_leaves_tensors_as_they_are() -> None:
    held, dropped = [torch.full((1000,), 1.0) for _ in range(500)], torch.zeros(500, 1000)
    del dropped
    give_back()
    assert all(bool((each == 1).all()) for each in held)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
def test_what_was_freed_between_what_is_held_goes_back() -> None:
    small = [torch.full((20_000,), 1.0) for _ in range(1000)]  # 80 kB each, of the heap
    kept, full = small[::10], resident_bytes()
    del small
    give_back(beyond=1 << 50)
    assert resident_bytes() > full - 40_000_000  # nothing was asked of it
    give_back()
    assert resident_bytes() < full - 40_000_000
    assert len(kept) == 100


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
def test_large_blocks_are_kept_for_those_after_them() -> None:
    reuse_freed()
    large = torch.ones(16_000_000)  # 64 MB
    full = resident_bytes()
    del large
    assert resident_bytes() > full - 32_000_000
    give_back()
    assert resident_bytes() < full - 32_000_000


def test_the_peak_does_not_fall() -> None:
    before = peak_bytes()
    large = torch.ones(20_000_000)
    del large
    after = peak_bytes()
    assert resident_bytes() <= (after or 0)
    assert (before is None) == (after is None)
    assert before is None or after is None or after >= before > 10_000_000
