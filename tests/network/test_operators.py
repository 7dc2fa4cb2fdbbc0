"""Which priced layers an operation is, and what costs nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.layers import Layer
from automl.network.operators import base_name, extent, is_free, layers_of, places
from automl.network.recorded import Call
from automl.network.trace import record


class Function(nn.Module):
    """A function as a model."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def last_call(model: nn.Module, *shape: int) -> tuple[Call, dict[str, nn.Module]]:
    trace = record(model.eval(), torch.randn(*shape))
    return trace.calls[-1], dict(model.named_modules())


def priced(model: nn.Module, *shape: int) -> list[Layer] | None:
    """The layers of a model's last operation."""
    return layers_of(*last_call(model, *shape), "name")


MAPS = (1, 8, 6, 4)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x + x.sin(), Layer("name", "add", 8, 8, in_size=(6, 4), out_size=(6, 4))),
        (lambda x: x * x.mean((2, 3), keepdim=True),
         Layer("name", "mul", 8, 8, in_size=(6, 4), out_size=(6, 4), detail="channel")),
        (lambda x: torch.cat((x, x.sin(), x), 1),
         Layer("name", "concat", 24, 24, in_size=(6, 4), out_size=(6, 4), detail="3")),
        (F.silu, Layer("name", "activation", 8, 8, in_size=(6, 4), out_size=(6, 4), detail="silu")),
        (lambda x: F.avg_pool2d(x, 2),
         Layer("name", "avg_pool", 8, 8, (2, 2), (2, 2), in_size=(6, 4), out_size=(3, 2))),
        (lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
         Layer("name", "avg_pool", 8, 8, (2, 2), (2, 2), in_size=(6, 4), out_size=(3, 2))),
        (lambda x: F.max_pool2d(x.repeat(5, 1, 1, 1), 2),
         Layer("name", "max_pool", 8, 8, (2, 2), (2, 2), in_size=(6, 4), out_size=(3, 2), batch=5)),
        (lambda x: F.silu(x.repeat(5, 1, 1, 1)),
         Layer("name", "activation", 8, 8, in_size=(30, 4), out_size=(30, 4), detail="silu")),
        (lambda x: F.max_pool3d(x.unsqueeze(2), (1, 2, 2)),
         Layer("name", "max_pool", 8, 8, (1, 2, 2), (1, 2, 2), (0, 0, 0), in_size=(1, 6, 4),
               out_size=(1, 3, 2))),
        (lambda x: F.conv3d(x.unsqueeze(2), torch.ones(6, 8, 1, 3, 3)),
         Layer("name", "conv3d", 8, 6, (1, 3, 3), (1, 1, 1), (0, 0, 0), (1, 1, 1),
               in_size=(1, 6, 4), out_size=(1, 4, 2))),
        (lambda x: F.conv_transpose1d(x[..., 0], torch.ones(8, 6, 3), stride=2),
         Layer("name", "conv_transpose2d", 8, 6, (3, 1), (2, 1), in_size=(6, 1),
               out_size=(13, 1))),
        (lambda x: x + torch.ones(1, 1, 6, 4),
         Layer("name", "add", 8, 8, in_size=(6, 4), out_size=(6, 4), detail="channel")),
        (lambda x: x.mean((2, 3)), Layer("name", "global_avg_pool", 8, 8, in_size=(6, 4))),
        (lambda x: F.interpolate(x, scale_factor=2.0),
         Layer("name", "resize", 8, 8, in_size=(6, 4), out_size=(12, 8), detail="nearest")),
        (lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
         Layer("name", "resize", 8, 8, in_size=(6, 4), out_size=(12, 8), detail="linear")),
        (lambda x: F.softmax(x.flatten(2), -1),
         Layer("name", "softmax", 24, 24, in_size=(8, 1), out_size=(8, 1))),
        (lambda x: F.conv2d(x, torch.ones(6, 4, 3, 3), None, (2, 2), (1, 1), (1, 1), 2),
         Layer("name", "conv2d", 8, 6, (3, 3), (2, 2), (1, 1), groups=2, in_size=(6, 4),
               out_size=(3, 2))),
        (lambda x: x.flatten(2) @ torch.ones(24, 5),
         Layer("name", "linear", 24, 5, in_size=(8, 1), out_size=(8, 1))),
    ],
)  # fmt: skip
def test_operators_are_priced_by_their_shapes(function: Any, expected: Layer) -> None:
    call, modules = last_call(Function(function), *MAPS)
    if call.step.op in ("view", "_unsafe_view"):  # of a product of rows
        call = record(Function(function).eval(), torch.randn(MAPS)).calls[-2]
    assert layers_of(call, modules, "name") == [expected]


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv2d(8, 6, 3, 2, 1, groups=2), MAPS,
         Layer("0", "conv2d", 8, 6, (3, 3), (2, 2), (1, 1), groups=2, in_size=(6, 4),
               out_size=(3, 2))),
        (nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=8), MAPS,
         Layer("0", "depthwise_conv2d", 8, 8, (3, 3), padding=(2, 2), dilation=(2, 2), groups=8,
               in_size=(6, 4), out_size=(6, 4))),
        (nn.ConvTranspose2d(8, 4, 2, 2), MAPS,
         Layer("0", "conv_transpose2d", 8, 4, (2, 2), (2, 2), in_size=(6, 4), out_size=(12, 8))),
        (nn.Conv1d(8, 4, 3), (1, 8, 9),
         Layer("0", "conv2d", 8, 4, (3, 1), in_size=(9, 1), out_size=(7, 1))),
        (nn.ConvTranspose2d(8, 8, 2, 2, groups=8), MAPS,
         Layer("0", "conv_transpose2d", 8, 8, (2, 2), (2, 2), groups=8, in_size=(6, 4),
               out_size=(12, 8))),
        (nn.Conv2d(8, 4, 3), (5, 8, 6, 4),
         Layer("0", "conv2d", 8, 4, (3, 3), in_size=(6, 4), out_size=(4, 2), batch=5)),
        (nn.Linear(7, 4), (1, 5, 7),
         Layer("0", "linear", 7, 4, in_size=(5, 1), out_size=(5, 1))),
        (nn.BatchNorm2d(8), MAPS, Layer("0", "norm", 8, 8, in_size=(6, 4), out_size=(6, 4))),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)  # fmt: skip
def test_layers_are_priced_by_their_geometry(
    module: nn.Module, shape: tuple[int, ...], expected: Layer
) -> None:
    assert priced(nn.Sequential(module), *shape) == [expected]


def test_attention_is_two_products_and_a_softmax() -> None:
    def attention(x: Tensor) -> Tensor:
        heads = x.view(1, 5, 2, 4).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)

    trace = record(Function(attention).eval(), torch.randn(1, 5, 8))
    call = next(call for call in trace.calls if "scaled_dot_product" in call.step.op)
    rows = {"groups": 2, "in_size": (5, 1), "out_size": (5, 1)}
    assert layers_of(call, {}, "a") == [
        Layer("a.qk", "matmul", 4, 5, **rows),
        Layer("a.softmax", "softmax", 5, 5, **rows),
        Layer("a.av", "matmul", 5, 4, **rows),
    ]


def test_a_copy_of_what_lies_as_it_is_read_is_free() -> None:
    assert priced(Function(lambda x: x.sin().contiguous().clone()), *MAPS) == []


def free(model: nn.Module, *shape: int) -> bool:
    trace = record(model.eval(), torch.randn(*shape))
    call = trace.calls[-1]
    return is_free(call, trace.producers().get(call.inputs[0]))


def test_what_fuses_into_its_producer_costs_nothing() -> None:
    conv = nn.Conv2d(8, 8, 1)
    assert free(nn.Sequential(conv, nn.ReLU()), *MAPS)
    assert free(nn.Sequential(conv, nn.ReLU(inplace=True)), *MAPS)
    assert free(nn.Sequential(conv, nn.BatchNorm2d(8)), *MAPS)
    assert not free(nn.Sequential(nn.ReLU()), *MAPS)
    assert not free(nn.Sequential(nn.BatchNorm2d(8)), *MAPS)
    assert not free(nn.Sequential(conv, nn.SiLU()), *MAPS)


def test_views_and_numbers_cost_nothing() -> None:
    assert free(Function(lambda x: x.flatten(1)), *MAPS)
    assert free(Function(lambda x: 2.0 * x), *MAPS)
    assert not free(Function(lambda x: x * x.sin()), *MAPS)
    assert base_name("relu_") == "relu"


def test_sizes_are_those_of_maps_tokens_and_vectors() -> None:
    assert extent(MAPS, (1,)) == (8, (6, 4))
    assert extent((1, 6, 4, 8), (3,)) == (8, (6, 4))
    assert extent((5, 8, 6, 4), (1,)) == (8, (30, 4))  # maps beneath each other
    assert extent((1, 8, 5), (1,)) == extent((1, 5, 8), (2,)) == (8, (5, 1))
    assert extent((1, 7), (1,)) == (7, (1, 1))
    assert extent((1, 2, 4, 6, 6), (1, 2)) == (8, (6, 6))
    assert extent((), ()) == (1, (1, 1))
    assert places((1, 5, 7), 7) == (5, 1)
