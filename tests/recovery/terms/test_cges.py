"""CGES: both sparsities, by hand; early layers share, late ones compete."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automl.recovery.base import Step
from automl.recovery.layer_weights import layer_weights
from automl.recovery.terms.cges import CombinedGroupExclusive
from automl.testing import TermContract


class TestCges(TermContract):
    name = "cges"


def test_the_mixture_moves_from_layer_to_layer() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0]]))
        model[1].weight.copy_(torch.tensor([[3.0, 4.0]]))
    step = Step(torch.zeros(1), None, [], [], weights=layer_weights(model))
    length, exclusive = 5.0, 49 / 2
    expected = (0.8 * length + 0.1 * exclusive) + (0.2 * length + 0.4 * exclusive)
    assert float(CombinedGroupExclusive(weight=1.0)(step).detach()) == pytest.approx(expected)
