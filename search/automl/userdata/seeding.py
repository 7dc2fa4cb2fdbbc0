"""Chance held still while the user's data is read, and left as it was afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int, *sources: object) -> Iterator[None]:
    """The global generators of Python, NumPy and torch seeded, and those of the loaders.

    A loader that shuffles yields the same order each time that it is read inside. Generators that
    only the user's own code knows are not reached.

    Args:
        seed: Of all of them.
        sources: Loaders, whose own generators and whose samplers' are seeded too.
    """
    # a plain sampler without a generator draws its order from torch's global one
    own = {id(each): each for source in sources for each in _generators(source)}
    before = [(each, each.get_state()) for each in own.values()]
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(seed)
            np.random.seed(seed % (1 << 32))
            torch.manual_seed(seed)
            for generator in own.values():
                generator.manual_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            for generator, state in before:
                generator.set_state(state)


def _generators(source: object) -> Iterator[torch.Generator]:
    """Of a torch loader, its sampler, and the sampler that its batches are drawn by."""
    batches = getattr(source, "batch_sampler", None)
    parts = (source, getattr(source, "sampler", None), batches, getattr(batches, "sampler", None))
    for part in parts:
        generator = getattr(part, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator
