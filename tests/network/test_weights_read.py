"""Parameters are told in what was made of them, as long as no input went into it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.trace import record
from automl.network.weights_read import tied_layers


class Made(nn.Module):
    """A matrix made of two others, and one that nothing reads but an operation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(4, 3))
        self.right = nn.Parameter(torch.randn(4, 3))
        self.lonely = nn.Parameter(torch.randn(4))
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.lonely * 2.0
        return self.layer(F.linear(x, (self.left + self.right).t().contiguous().t()).relu()[:, 1:])


def test_what_is_made_of_parameters_is_still_theirs() -> None:
    trace = record(Made().eval(), torch.randn(1, 3))
    read = {call.step.op: call.weights for call in trace.calls if call.weights}
    assert read == {"mm": ("left", "right"), "linear": ("layer.weight", "layer.bias")}
    assert set(trace.asides) == {"left", "right", "lonely"}


def test_layers_that_hold_one_weight_are_known() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert tied_layers(model) == {"0": "0", "2": "0"}
