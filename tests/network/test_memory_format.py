"""Inputs whose channels lie last: shown so where a network runs the same operations on them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from automl.network import forget_layout, laid_out, pass_layout_on, runs_alike, trace_network

Tensor = torch.Tensor
LAST = torch.channels_last


class Net(nn.Module):
    """A convolution, and what is made of its values."""

    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.then = nn.Conv2d(3, 4, 3, padding=1), then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(F.relu(self.conv(x)))


def ready(then: Callable[[Tensor], Tensor]) -> nn.Module:
    return trace_network(Net(then), (1, 3, 8, 8), resolutions=()).model


def lies_last(model: nn.Module) -> bool:
    return laid_out(model, torch.randn(2, 3, 8, 8)).is_contiguous(memory_format=LAST)


@pytest.mark.parametrize(
    "then",
    [
        lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
        lambda x: x.mean((2, 3)),
        lambda x: F.max_pool2d(x, 2),
    ],
    ids=["pooled", "mean", "map"],
)
def test_inputs_are_laid_out_for_what_computes_the_same(then: Callable[[Tensor], Tensor]) -> None:
    model, inputs = ready(then), torch.randn(2, 3, 8, 8)
    assert lies_last(model)
    shown = laid_out(model, inputs)
    assert torch.equal(shown, inputs)
    assert torch.allclose(model(shown), model(inputs), atol=1e-5)
    assert lies_last(copy.deepcopy(model))


@pytest.mark.parametrize(
    "then",
    [
        lambda x: x.flatten(1),  # has to copy: another operation
        lambda x: x.view(x.shape[0], -1),  # torch refuses it
        lambda x: x.as_strided(x.shape, (256, 64, 8, 1)).mean((2, 3)),
    ],
    ids=["flattened", "viewed", "strided"],
)
def test_what_reads_its_values_as_they_lie_is_left_as_it_is(
    then: Callable[[Tensor], Tensor],
) -> None:
    model = ready(then)
    assert not lies_last(model)
    assert laid_out(model, torch.randn(2, 3, 8, 8).to(memory_format=LAST)).is_contiguous()


def test_a_note_can_be_passed_on_and_taken_away() -> None:
    model, other = ready(lambda x: x.mean((2, 3))), nn.Identity()
    pass_layout_on(model, other)
    assert lies_last(other)
    forget_layout(other)
    forget_layout(other)
    assert not lies_last(other)
    pass_layout_on(other, model)
    assert lies_last(model)


def test_rows_and_signals_stay() -> None:
    model = ready(lambda x: x.mean((2, 3)))
    rows = torch.randn(2, 5)
    assert laid_out(model, rows) is rows


def test_parts_that_run_alike() -> None:
    assert runs_alike(nn.Conv2d(3, 4, 3), (1, 3, 8, 8))
    assert not runs_alike(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), (1, 3, 8, 8))
    assert runs_alike(nn.Linear(5, 4), (1, 5))
