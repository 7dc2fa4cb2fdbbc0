"""Scratch draws all weights anew, the same under the same seed."""

from __future__ import annotations

import pytest
import torch
from recoverable import pair
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import Beginning
from automl.recovery.starts.scratch import Scratch
from automl.testing import StartContract


class TestScratch(StartContract):
    name = "scratch"


def test_weights_are_new_and_those_of_the_seed() -> None:
    _, old = pair()
    one, other, third = (pair()[1] for _ in range(3))
    state = torch.get_rng_state()
    for student, seed in ((one, 1), (other, 1), (third, 2)):
        Scratch().begin(Beginning(student, seed=seed))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.stem.weight, other.stem.weight)
    assert not torch.equal(one.stem.weight, third.stem.weight)
    assert not torch.equal(one.stem.weight, old.stem.weight)
    assert torch.equal(one.blocks[0].bn1.weight, torch.ones(8))  # type: ignore[union-attr, arg-type]


def test_weights_that_nothing_draws_are_named() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(UsageError, match="0 has weights that nothing says how to draw anew"):
        Scratch().begin(Beginning(nn.Sequential(Own())))
