"""Operators that no rule of their own prices: what they move and what they multiply is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.layers import UNPRICED, Layer
from automl.network.operators import layers_of
from automl.network.trace import record


class Function(nn.Module):
    """A function of the input, or of a parameter and the input, as a model."""

    def __init__(self, function: Any, *weights: Tensor) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(weights)

    def forward(self, x: Tensor) -> Any:
        return self.function(*self.weights, x)


def priced(model: nn.Module, *shape: int) -> list[Layer]:
    """The layers of a model's last operation."""
    trace = record(model.eval(), torch.randn(*shape))
    return layers_of(trace.calls[-1], dict(model.named_modules()), "name")


MAPS = (1, 8, 6, 4)
SAME = {"in_size": (6, 4), "out_size": (6, 4)}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (torch.abs, Layer("name", "activation", 8, 8, detail="abs", **SAME)),
        (lambda x: x.cumsum(2), Layer("name", "activation", 8, 8, detail="cumsum", **SAME)),
        (lambda x: torch.maximum(x, x.sin()),
         Layer("name", "elementwise", 8, 8, groups=2, detail="maximum", **SAME)),
        (lambda x: x.amax((2, 3)), Layer("name", "reduce", 8, 8, in_size=(24, 1), detail="amax")),
        (lambda x: x.unflatten(1, (2, 4)).sum(1),
         Layer("name", "reduce", 8, 4, in_size=(24, 1), out_size=(24, 1), detail="sum")),
        (lambda x: x[:, [0, 2, 1]],
         Layer("name", "gather", 3, 3, in_size=(24, 1), out_size=(24, 1), detail="index")),
        (lambda x: x.flatten(1).topk(5)[0],
         Layer("name", "sort", 192, 1, in_size=(1, 1), out_size=(5, 1), detail="topk")),
        (lambda x: x.sort(3)[0],
         Layer("name", "sort", 4, 1, in_size=(48, 1), out_size=(192, 1), detail="sort")),
    ],
)  # fmt: skip
def test_what_moves_or_sorts_numbers_is_told_by_its_shapes(function: Any, expected: Layer) -> None:
    assert priced(Function(function), *MAPS) == [expected]


def test_all_that_is_multiplied_with_weights_is_counted() -> None:
    def mixed(weight: Tensor, x: Tensor) -> Tensor:
        return torch._trilinear(x, weight, x, [1, 3], [0], [1, 2], [2, 3])

    (bilinear,) = priced(Function(mixed, torch.ones(5, 7, 7)), 3, 7)
    assert bilinear == Layer("name", "linear", 49, 5, in_size=(3, 1), out_size=(3, 1))
    assert bilinear.macs == 3 * 5 * 49

    (summed,) = priced(
        Function(lambda weight, x: F.embedding_bag(x.long().abs() % 9, weight), torch.ones(9, 4)),
        *(2, 6),
    )
    assert (summed.op, summed.in_channels, summed.in_size) == ("gather", 4, (12, 1))


def test_weights_in_an_operator_that_nobody_knows_are_counted_and_have_no_price() -> None:
    (layer,) = priced(Function(lambda w, x: torch.cdist(x, w), torch.ones(16, 7)), 10, 7)
    assert (layer.op, layer.detail) == (UNPRICED, "_cdist_forward")
    assert layer.macs == 10 * 16 * 7
    # what meets its weights number by number only moves them
    (layer,) = priced(Function(lambda w, x: torch.maximum(x, w), torch.ones(10, 7)), 10, 7)
    assert (layer.op, layer.macs) == ("elementwise", 0)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.LSTM(8, 16, 2, batch_first=True), (1, 5, 8), 5 * 64 * (24 + 32)),
        (nn.LSTM(8, 16, bidirectional=True), (5, 1, 8), 5 * 2 * 64 * 24),
        (nn.LSTM(8, 16, proj_size=4), (5, 1, 8), 5 * (64 * (8 + 4) + 16 * 4)),
        (nn.GRU(8, 16, 2, bidirectional=True), (5, 3, 8), 5 * 3 * 2 * 48 * (24 + 48)),
        (nn.RNN(8, 16), (5, 1, 8), 5 * 16 * 24),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_a_recurrent_layers_work_is_that_of_its_steps(
    module: nn.Module, shape: tuple[int, ...], macs: int
) -> None:
    model = nn.Sequential(module)
    trace = record(model.eval(), torch.randn(*shape))
    (call,) = trace.calls
    layers = layers_of(call, dict(model.named_modules()), "name")
    assert sum(layer.macs for layer in layers) == macs
    assert {layer.op for layer in layers} == {type(module).__name__.lower()}
    assert len({layer.name for layer in layers}) == len(layers) == module.num_layers
