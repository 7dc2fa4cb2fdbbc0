"""A plain layer inside the forward of another module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import written_layers as written
from torch import nn
from torch.nn import functional as F

from automl.network.forward_tracer import ForwardTracer, LeafCall, leaf_kind
from automl.network.own_forward import OwnForwardConv2d, layer_function


def held(around: nn.Conv2d) -> OwnForwardConv2d:
    """The convolution of a module that pads before it, as a layer around which the module runs."""
    layer = OwnForwardConv2d(
        around.in_channels, around.out_channels, around.kernel_size, around.stride
    )
    layer.load_state_dict(around.state_dict())
    layer.around = around
    return layer


def test_the_call_of_a_layer_is_read_as_its_function_takes_it() -> None:
    x, weight, bias = torch.zeros(1, 4, 5, 5), torch.zeros(6, 2, 3, 3), torch.zeros(6)
    call = layer_function(F.conv2d, (x, weight), {"bias": bias, "stride": 2, "groups": 2})
    assert call is not None
    assert call.bias is bias
    assert call.geometry == {"stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "groups": 2}
    turned = layer_function(F.conv_transpose2d, (x, torch.zeros(4, 2, 3, 3), None, 2, 1, [1]), {})
    assert turned is not None
    assert turned.geometry["output_padding"] == (1, 1)
    assert layer_function(torch.relu, (x,), {}) is None


def test_what_is_around_runs_with_the_layers_own_weights() -> None:
    layer, x = held(written.Same(3, 4, 3, 2)), torch.randn(1, 3, 8, 8)
    expected = layer.around(x)
    torch.testing.assert_close(layer(x), expected)
    layer.weight.data.mul_(2)
    layer.bias = None
    around: Any = layer.around
    torch.testing.assert_close(layer(x), 2 * (expected - around.bias.view(1, -1, 1, 1)))


def test_a_tracer_sees_one_layer_that_reads_what_is_padded() -> None:
    seen: list[tuple[LeafCall, torch.Size]] = []

    class Noting(ForwardTracer):
        def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
            seen.append((step, args[0].shape))

    model = nn.Sequential(held(written.Same(3, 4, 3, 2)))
    assert leaf_kind(model[0]) == ""
    with Noting(model).attached():
        model(torch.zeros(1, 3, 8, 8))
    ((step, shape),) = seen
    assert (step.address, step.op, step.module) == (("0", 0), "conv", "0")
    assert shape == (1, 3, 9, 9)


def test_a_geometry_that_depends_on_the_input_is_refused() -> None:
    class Striding(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.conv2d(x, self.weight, self.bias, 1 if x.shape[-1] < 8 else 2)

    layer = held(Striding(3, 4, 3))
    layer(torch.zeros(1, 3, 6, 6))
    with pytest.raises(ValueError, match="depends on its input"):
        layer(torch.zeros(1, 3, 8, 8))
    assert not layer.inside
