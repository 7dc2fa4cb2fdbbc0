"""Forms that are no chain: sums of operators, and channels in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from automl.compression.forms.arrangement import (
    Arrangement,
    Parallel,
    Serial,
    composed,
    places,
    wired,
)
from automl.compression.forms.base import GATHER, Form, convolution
from automl.compression.forms.building import built
from automl.compression.layer_matrix import matrix
from automl.network import Extent, Layer
from automl.testing import FormContract


class NoParameter(Form[int]):
    def refusal(self, parameter: int | None, layer: Layer) -> str:
        square = layer.op == "conv2d" and layer.kernel == (3, 3) and layer.padding == (1, 1)
        return "" if square and layer.groups == 1 else "it is not three by three"

    def parameters(self, layer: Layer) -> Sequence[int]:
        return (1,)

    def write(self, parameter: int) -> str:
        return str(parameter)

    def read(self, text: str) -> int:
        return int(text)


class Cross(NoParameter):
    """The middle row and the middle column of the taps, each a convolution; both are added."""

    name = "cross"

    def lower(self, parameter: int, layer: Layer) -> tuple[Layer, ...]:
        row, column = (
            replace(layer, kernel=kernel, padding=padding)
            for kernel, padding in (((1, 3), (0, 1)), ((3, 1), (1, 0)))
        )
        whole = layer.out_channels
        added = Layer(
            "", "add", whole, whole, in_size=layer.out_size, out_size=layer.out_size, batch=1
        )
        return row, column, added

    def arrangement(self, parameter: int, count: int) -> Arrangement:
        return Parallel((0, 1))

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        column = kernel[..., 1:2].clone()
        column[..., 1, :] = 0.0
        return kernel[..., 1:2, :], column

    def compose(self, parameter: int, factors: Sequence[Tensor], window: Extent) -> Tensor:
        row, column = factors
        whole = row.new_zeros(*row.shape[:3], *window)
        whole[..., 1:2, :] += row
        whole[..., 1:2] += column
        return whole


class Reordered(NoParameter):
    """Half the outputs, each of them twice, and the other way round: of a 1 x 1 kernel's taps."""

    name = "reordered"

    def lower(self, parameter: int, layer: Layer) -> tuple[Layer, ...]:
        some = convolution(layer, (layer.in_channels, layer.out_channels), (True, True), last=False)
        some = replace(some, kernel=(1, 1), padding=(0, 0))
        return some, replace(some, op=GATHER, in_channels=some.out_channels)

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        order = torch.arange(kernel.shape[1]).flip(0).roll(1)
        return kernel[:, order.argsort(), :, 1:2, 1:2], order

    def compose(self, parameter: int, factors: Sequence[Tensor], window: Extent) -> Tensor:
        middle, order = factors
        whole = middle.new_zeros(*middle.shape[:3], *window)
        whole[..., 1:2, 1:2] = middle[:, order]
        return whole


class TestCross(FormContract):
    name = "cross"

    def form(self) -> Form[int]:
        return Cross()


class TestReordered(FormContract):
    name = "reordered"

    def form(self) -> Form[int]:
        return Reordered()


def test_what_is_added_has_the_bias_once() -> None:
    layer = nn.Conv2d(4, 6, 3, padding=1)
    made = built(Cross(), 1, layer)
    biases = [each.bias for each in made.modules() if isinstance(each, nn.Conv2d)]
    assert biases[0] is None
    assert layer.bias is not None
    torch.testing.assert_close(biases[1], layer.bias)


def test_a_chain_may_hold_a_sum() -> None:
    parts: Arrangement = Serial((0, Parallel((1, Serial((2, 3))))))
    assert list(places(parts)) == [0, 1, 2, 3]
    layers = [nn.Linear(3, 3, bias=False) for _ in range(4)]
    kernels = [matrix(each).double().view(1, 3, 3, 1, 1) for each in layers]
    whole = composed(parts, kernels).view(3, 3)
    inputs = torch.randn(5, 3)
    with torch.no_grad():
        found = wired(parts, layers)(inputs)
    torch.testing.assert_close(found, (inputs.double() @ whole.T).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [Serial, Parallel])
def test_one_operator_is_a_module_by_itself(kind: type[Serial] | type[Parallel]) -> None:
    layer = nn.Linear(2, 2)
    assert wired(kind((0,)), [layer]) is layer
