"""Group lasso: lengths of groups times the root of their size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import Step
from automl.recovery.layer_weights import layer_weights
from automl.recovery.terms.group_lasso import GroupLasso
from automl.testing import TermContract


class TestGroupLasso(TermContract):
    name = "group-lasso"


class TestGroupLassoOfChannels(TermContract):
    name = "group-lasso:of=channel"


class TestGroupLassoOfShapes(TermContract):
    name = "group-lasso:of=shape"


def test_it_is_the_sum_of_lengths() -> None:
    layer = nn.Conv2d(2, 2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 0.0], [4.0, 12.0]]).view(2, 2, 1, 1))
    step = Step(torch.zeros(1), None, [torch.zeros(1)], [], weights=layer_weights(layer))
    for of, expected in (
        ("filter", (3 + 160**0.5) * 2**0.5),
        ("channel", 17 * 2**0.5),
        ("shape", 17 * 2**0.5),
        ("depth", 13 * 4**0.5),
    ):
        assert float(GroupLasso(weight=1.0, of=of)(step).detach()) == pytest.approx(expected)
    with pytest.raises(UsageError, match="of of group-lasso is one of filter, channel"):
        GroupLasso(of="filters")
