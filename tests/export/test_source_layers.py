"""Layers are made again by the call that is written of them."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from automl.export.source_layers import made_by, module_of


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(4, 8, (3, 1), (2, 1), (1, 0), groups=4, bias=False),
        nn.Conv1d(4, 8, 3, padding="same"),
        nn.ConvTranspose2d(4, 8, 2, 2, output_padding=1),
        nn.Linear(3, 4, bias=False),
        nn.BatchNorm2d(4, eps=1e-3, affine=False),
        nn.GroupNorm(2, 4),
        nn.LayerNorm((4, 4)),
        nn.LayerNorm(4, bias=False),
        nn.RMSNorm(4),
        nn.PReLU(4),
        nn.GRU(3, 4, 2, batch_first=True, bias=False, bidirectional=True),
    ],
    ids=str,
)
def test_a_layer_is_made_again(layer: nn.Module) -> None:
    made = eval(str(made_by(layer)), {"nn": nn})
    assert repr(made) == repr(layer)
    assert {name: each.shape for name, each in made.state_dict().items()} == {
        name: each.shape for name, each in layer.state_dict().items()
    }


def test_what_is_no_layer_of_torchs_is_not_made() -> None:
    assert made_by(nn.Module()) is None


def test_operators_are_modules_of_their_own_kind() -> None:
    graph, aten = fx.Graph(), torch.ops.aten
    x = graph.placeholder("x")
    cases = {
        "nn.ReLU(inplace=True)": (aten.relu_.default, ()),
        "nn.ReLU6()": (aten.hardtanh.default, (0.0, 6.0)),
        "nn.MaxPool2d((3, 2), 2)": (aten.max_pool2d.default, ([3, 2], [2, 2])),
        "nn.Flatten()": (aten.flatten.using_ints, (1,)),
    }
    for said, (target, rest) in cases.items():
        assert module_of(graph.call_function(target, (x, *rest))) == said
    assert module_of(graph.call_function(aten.flatten.using_ints, (x, 2))) is None
    assert module_of(graph.call_function(aten.add.Tensor, (x, x))) is None
