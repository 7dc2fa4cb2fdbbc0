"""The same training each time, on a GPU as on a processor."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Have a GPU add up in the same order each time, where torch has a way to; then as before.

    Without it gradients of what is rounded or picked by indices differ in their last digits from
    run to run, so that what was killed would not go on to the same weights.

    Args:
        device: That is trained on; nothing is changed for the processor.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic", category=UserWarning)
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
