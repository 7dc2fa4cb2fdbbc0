"""A carried value passes whatever is done to it, and arrives as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.carried import Carried, Carry, unload

VALUE = torch.arange(6.0).view(1, 2, 3) - 3


@pytest.mark.parametrize(
    "act",
    [
        F.relu,
        F.relu6,
        F.silu,
        torch.sigmoid,
        nn.Hardswish(inplace=True),
        nn.Dropout(0.5),
        lambda x: x.clamp(min=0).mul_(2),
        lambda x: x * torch.sigmoid(x),
        lambda x: 1 - (-x + 3) / 6 - (x - 1) + 2 * x,
        lambda x: torch.add(3, other=x).relu_(),
        lambda x: x**2,
    ],
)
def test_nothing_is_done_to_it(act: Callable[[Any], Any]) -> None:
    found = act(Carry()(VALUE.clone()))
    assert isinstance(found, Carried)
    (value,) = unload(nn.Identity(), (found,))
    assert torch.equal(value, VALUE)


def test_it_says_what_a_tensor_says() -> None:
    carried = Carry()(VALUE.double())
    assert carried.dtype == torch.float64
    assert carried.dim() == 0


def test_what_was_not_sent_on_is_refused() -> None:
    given: tuple[Tensor | Carried, ...]
    for given in ((VALUE,), (), (Carry()(VALUE), VALUE)):
        with pytest.raises(TypeError, match="did not arrive"):
            unload(nn.Identity(), given)
