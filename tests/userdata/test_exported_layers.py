"""Layers made from what operators are called with."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from automl.userdata.exported_layers import layer_of, recurrent_of


def test_a_transposed_convolution_has_its_geometry() -> None:
    weight, bias, inputs = torch.rand(6, 2, 3, 3), torch.rand(4), torch.rand(1, 6, 5, 5)
    given = {"weight": weight, "bias": bias, "stride": [2, 2], "padding": [1], "groups": 2}
    given |= {"output_padding": [1, 1], "dilation": [1, 1]}
    layer = layer_of("conv_transpose2d", given, 4)
    assert isinstance(layer, nn.ConvTranspose2d)
    expected = F.conv_transpose2d(inputs, weight, bias, 2, 1, 1, 2)
    torch.testing.assert_close(layer(inputs), expected)


def test_a_general_convolution_is_of_the_kind_that_it_says() -> None:
    given = {"weight": torch.rand(6, 2, 3), "bias": None, "stride": [1], "padding": [1]}
    given |= {"output_padding": [0], "dilation": [1], "groups": 1}
    assert isinstance(layer_of("convolution", given | {"transposed": False}, 3), nn.Conv1d)
    turned = layer_of("convolution", given | {"transposed": True}, 3)
    assert isinstance(turned, nn.ConvTranspose1d)
    assert turned.in_channels == 6


def test_a_batch_norm_keeps_its_statistics_or_has_none() -> None:
    mean, held = torch.rand(4), torch.rand(4)
    given = {"weight": held, "bias": held, "running_mean": mean, "running_var": mean}
    given |= {"eps": 1e-3, "momentum": 0.1}
    layer = layer_of("batch_norm", given, 5)
    assert isinstance(layer, nn.BatchNorm3d)
    assert layer.running_mean is mean
    assert layer.eps == 1e-3
    alone = layer_of("batch_norm", given | {"running_mean": None, "running_var": None}, 4)
    assert isinstance(alone, nn.BatchNorm2d)
    assert alone.running_mean is None
    assert not alone.training


def test_what_has_no_weights_is_no_layer() -> None:
    given = {"normalized_shape": [4], "weight": None, "bias": None, "eps": 1e-5}
    assert layer_of("layer_norm", given, 3) is None
    assert layer_of("relu", {}, 3) is None
    assert layer_of("linear", {"weight": torch.rand(4), "bias": None}, 2) is None


def test_a_recurrent_layer_reads_its_weights_in_order() -> None:
    torch.manual_seed(0)
    own = nn.LSTM(5, 6, num_layers=2, proj_size=3, batch_first=True).eval()
    given = {"num_layers": 2, "bidirectional": False, "has_biases": True, "batch_first": True}
    made = recurrent_of("lstm", given, list(own.parameters()))
    assert isinstance(made, nn.LSTM)
    assert made.proj_size == 3
    for name, value in own.state_dict().items():
        torch.testing.assert_close(made.state_dict()[name], value)
    plain = nn.RNN(5, 6, nonlinearity="relu", bias=False)
    flags = given | {"num_layers": 1, "has_biases": False, "batch_first": False}
    other = recurrent_of("rnn_relu", flags, list(plain.parameters()))
    assert isinstance(other, nn.RNN)
    assert other.nonlinearity == "relu"
    assert recurrent_of("conv2d", given, []) is None
